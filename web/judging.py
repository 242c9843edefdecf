"""The operator judges replies without knowing which of a turn's candidates was given; see docs/blind.md."""

from chatbot.estimates import Estimate
from chatbot.history import History, NotFoundError
from chatbot.judgements import Judgements, MismatchError
from chatbot.ssa import Mark
from web.operator_protocol import Judge, Judged, JudgedReplies, Judging, SaidBefore, Share, ToJudge
from web.protocol import ProtocolError


class JudgingRoutes:
    """What the operator's page is told of judgements, and what it gives. Every method raises SQLAlchemyError."""

    def __init__(self, history: History) -> None:
        self._judgements = Judgements(history)

    def next(self) -> Judging:
        unjudged, left = self._judgements.next()
        if unjudged is None:
            return Judging(turn=None, left=0)
        context = [SaidBefore(speaker=speaker, text=text) for speaker, text in unjudged.context]  # type: ignore[arg-type]
        turn = ToJudge(reply_id=unjudged.reply_id, context=context, candidates=list(unjudged.candidates))
        return Judging(turn=turn, left=left)

    def judge(self, body: Judge) -> None:
        """Raises ProtocolError."""
        marks = [Mark(mark.sensible, mark.specific) for mark in body.marks]
        try:
            self._judgements.keep(body.reply_id, marks)
        except NotFoundError as error:
            raise ProtocolError("not_found", str(error)) from error
        except MismatchError as error:
            raise ProtocolError("invalid", str(error)) from error

    def judged(self) -> Judged:
        return Judged(
            systems=[
                JudgedReplies(
                    checkpoint=checkpoint,
                    kind=kind,
                    contexts=score.contexts,
                    replies=score.marks,
                    sensible=_share(score.sensible),
                    specific=_share(score.specific),
                    ssa=_share(score.ssa),
                )
                for checkpoint, kind, score in self._judgements.scores()
            ]
        )


def _share(found: Estimate) -> Share:
    low, high = found.interval or (None, None)
    return Share(value=found.value, low=low, high=high)
