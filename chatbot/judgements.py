"""What an operator thinks of replies of conversations that may be learned from.

They are judged blind: a reply stands among its candidates, and nothing tells which of them was given.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, ForeignKey, Select, select
from sqlalchemy.orm import Mapped, mapped_column, sessionmaker

from chatbot.history import Base, Conversation, History, HistoryError, NotFoundError, Turn, ancestors, now
from chatbot.reply import CONTEXT_TURNS
from chatbot.ssa import Mark, Marked, Score, judgement, scores
from data.cleaning import is_blank

READER = "operator"
OTHERS = 4  # candidates that are judged beside the reply
RECENT = 1_000  # of the last so many replies that are not judged yet, any may come next
COUNTED = 5_000  # judged replies, the last ones, make the scores

Kind = Literal["given", "candidate"]
KINDS: tuple[Kind, ...] = ("given", "candidate")


class MismatchError(HistoryError):
    """There are not as many marks as replies."""


class StoredJudgement(Base):
    """The marks of a reply and of some of its candidates: text, kind, sensible, specific, in the order judged."""

    __tablename__ = "judgements"
    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True)
    candidates: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    judged_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A reply shuffled among its candidates; `context` is (speaker, text), oldest first."""

    reply_id: str
    context: tuple[tuple[str, str], ...]
    candidates: tuple[str, ...]


class Judgements:
    """The judgements in the history's database. Safe to share between threads."""

    def __init__(self, history: History) -> None:
        self._sessions = sessionmaker(history.engine, expire_on_commit=False)
        self._writes = sessionmaker(history.engine.execution_options(immediate=True), expire_on_commit=False)

    def next(self) -> tuple[Unjudged | None, int]:
        """A reply to judge, drawn by lot of the last ones, and how many of these there are, RECENT at most."""
        query = _to_judge(Turn.id).outerjoin(StoredJudgement, StoredJudgement.turn_id == Turn.id)
        query = query.where(StoredJudgement.turn_id.is_(None)).order_by(Turn.created_at.desc()).limit(RECENT)
        with self._sessions() as session:
            ids = list(session.scalars(query))
            if not ids:
                return None, 0
            turn = session.get_one(Turn, random.choice(ids))
            context = _context(ancestors(session, turn.parent_id, CONTEXT_TURNS + 1))
            return Unjudged(turn.id, context, tuple(text for text, _ in _shuffled(turn))), len(ids)

    def keep(self, reply_id: str, marks: Sequence[Mark]) -> None:
        """Keep the marks, in the order in which the replies are shown; those there were are replaced.

        Raises NotFoundError where the reply may not be judged, or not any more; MismatchError.
        """
        with self._writes.begin() as session:
            turn = session.scalar(_to_judge(Turn).where(Turn.id == reply_id).with_for_update(of=Turn))
            if turn is None:
                raise NotFoundError("This reply cannot be judged any more.")
            shown = _shuffled(turn)
            if len(marks) != len(shown):
                raise MismatchError(f"There are {len(shown)} replies to mark, and {len(marks)} marks.")
            candidates = [
                {"text": text, "kind": kind, "sensible": mark.sensible, "specific": mark.specific}
                for (text, kind), mark in zip(shown, marks, strict=True)
            ]
            session.merge(StoredJudgement(turn_id=turn.id, candidates=candidates))

    def scores(self) -> list[tuple[str, Kind, Score]]:
        """Checkpoint, kind and score of the last COUNTED judged replies, the last judged checkpoint first."""
        query = _judged(Turn.checkpoint, StoredJudgement).order_by(StoredJudgement.judged_at.desc()).limit(COUNTED)
        with self._sessions() as session:
            rows = session.execute(query).all()
        order = list(dict.fromkeys(str(checkpoint) for checkpoint, _ in rows))
        found = [(one.system, kind, one) for kind in KINDS for one in scores(_marked(rows, kind))]
        return sorted(found, key=lambda row: order.index(row[0]))

    def records(self) -> Iterator[dict[str, Any]]:
        """Every judgement, the first one first, as training/judgements.jsonl.xz holds them."""
        query = _judged(StoredJudgement.turn_id).order_by(StoredJudgement.judged_at, StoredJudgement.turn_id)
        with self._sessions() as session:
            ids = list(session.scalars(query))
        for turn_id in ids:
            if record := self._record(turn_id):
                yield record

    def _record(self, turn_id: str) -> dict[str, Any] | None:
        """None where it was erased meanwhile, or may not be learned from any more."""
        with self._sessions() as session:
            row = session.execute(_judged(Turn, StoredJudgement).where(Turn.id == turn_id)).first()
            if row is None:
                return None
            turn, judged = row
            above = ancestors(session, turn.parent_id, turn.seq)  # all of them: their number is the reply's place
        candidates = [(one["text"], f"{turn.checkpoint} {one['kind']}", _mark(one)) for one in judged.candidates]
        context = [text for _, text in _context(above[: CONTEXT_TURNS + 1])]
        return judgement(turn.conversation_id, len(above), READER, context, candidates)


def _to_judge(*what: Any) -> Select[Any]:
    """Select `what` of the replies that may be judged: a fixed answer is not what a checkpoint says."""
    query = select(*what).select_from(Turn).join(Conversation, Turn.conversation_id == Conversation.id)
    chosen = (Turn.speaker == "bot", Turn.status == "completed", Turn.candidates.is_not(None), Turn.guarded.is_(None))
    return query.where(Conversation.learn, *chosen)


def _judged(*what: Any) -> Select[Any]:
    return _to_judge(*what).join(StoredJudgement, StoredJudgement.turn_id == Turn.id)


def _shuffled(turn: Turn) -> list[tuple[str, Kind]]:
    """The reply and some of its other candidates, in an order that says nothing and stays the same."""
    lot = random.Random(turn.id)
    others = [one["text"] for one in turn.candidates or () if one["text"] != turn.text and not is_blank(one["text"])]
    shown: list[tuple[str, Kind]] = [(text, "candidate") for text in lot.sample(others, min(OTHERS, len(others)))]
    shown.append((turn.text, "given"))
    lot.shuffle(shown)
    return shown


def _context(above: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    """Speaker and text of some turns, the nearest of which comes first there and last here."""
    return tuple((one.speaker, one.text) for one in reversed(above) if one.text)


def _marked(rows: Sequence[Any], kind: Kind) -> Iterator[Marked]:
    """The marks of the replies of one kind in rows of checkpoint and judgement."""
    for checkpoint, judged in rows:
        for one in judged.candidates:
            if one["kind"] == kind:
                yield Marked(str(checkpoint), judged.turn_id, _mark(one))


def _mark(candidate: dict[str, Any]) -> Mark:
    return Mark(bool(candidate["sensible"]), bool(candidate["specific"]))
