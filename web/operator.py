"""The operator's page: live traffic, replies to review, retraining, models. Behind the token of web.admin.

Reading is GET, changing is POST with a CSRF token in a header. A conversation's text is shown only where its owner
lets it be learned from; of all others there are figures alone.
"""

import hmac
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flask import Blueprint, Flask, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from chatbot.dullness import live_dullness
from chatbot.history import NotFoundError, TrainingRun
from chatbot.history import Review as StoredReview
from chatbot.home import home
from data.vocabulary import Vocabulary
from web.admin import SESSION_SECONDS, Sessions, admin_token
from web.config import Settings
from web.conversations import ConversationService
from web.judging import JudgingRoutes
from web.operator_protocol import (
    COOKIE,
    CSRF_HEADER,
    Better,
    Checkpoints,
    Child,
    Day,
    Dullness,
    DullReplies,
    DullWindow,
    Judge,
    OfReview,
    Opinion,
    Overview,
    Promotable,
    Promote,
    Promoted,
    Retrain,
    Review,
    Reviews,
    Run,
    Runs,
    SaidBefore,
    SignIn,
)
from web.protocol import Nothing, Payload, ProtocolError, Sent, refusal_of
from web.retraining import Retraining

if TYPE_CHECKING:
    from chatbot.shelf import Promotion

DAYS = 30
TURNS = 5_000  # the dullness of so many turns is looked at
REVIEWS, RUNS, PROMOTIONS = 10, 20, 20
WINDOWS = {"24 hours": timedelta(hours=24), "7 days": timedelta(days=7)}
AT_WORK = {"running", "stopping", "elsewhere"}
COUNTS = ("conversations", "turns", "thumbs_up", "thumbs_down", "bettered")

Body = TypeVar("Body", bound=Payload)


class Operator:
    """The routes under /operator and what they keep: who is signed in, and the retraining that runs."""

    def __init__(self, service: ConversationService, settings: Settings) -> None:
        """Raises AdminTokenError, OSError."""
        self.service = service
        self.settings = settings
        self.sessions = Sessions(admin_token())
        self.retraining = Retraining(settings.database)
        self.judging = JudgingRoutes(service.history)
        self._routes = Blueprint("operator", __name__, url_prefix="/operator")

    def register(self, app: Flask) -> None:
        self._routes.add_url_rule("", "page", self._page)
        self._routes.add_url_rule("/judging", "judging_page", self._judging_page)
        self._routes.add_url_rule("/sign-in", "sign_in", self._sign_in, methods=["POST"])
        self._get("overview", self._overview)
        self._get("dullness", self._dullness)
        self._get("reviews", self._reviews)
        self._get("judging", self.judging.next)
        self._get("judged", self.judging.judged)
        self._get("runs", self._runs)
        self._get("models", self._models)
        self._post("sign-out", Nothing, self._sign_out)
        self._post("better", Better, self._better)
        self._post("leave-out", OfReview, self._leave_out)
        self._post("judge", Judge, self.judging.judge)
        self._post("retrain", Retrain, self._retrain)
        self._post("stop", Nothing, self._stop)
        self._post("promote", Promote, self._promote)
        self._post("rollback", Nothing, self._rollback)
        self._routes.after_request(_keep_nowhere)
        app.register_blueprint(self._routes)

    def _get(self, name: str, tell: Callable[[], Sent]) -> None:
        def view() -> ResponseReturnValue:
            self._require_session()
            return tell().model_dump()

        self._routes.add_url_rule(f"/api/{name}", name, view)

    def _post(self, name: str, model: type[Body], act: Callable[[Body], None]) -> None:
        def view() -> ResponseReturnValue:
            csrf = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(csrf.encode(), self._require_session().encode()):
                raise ProtocolError("forbidden", "This did not come from the operator's page; reload it.")
            act(self._body(model))
            return {"ok": True}

        self._routes.add_url_rule(f"/api/{name}", name, view, methods=["POST"])

    # Signing in

    def _page(self) -> ResponseReturnValue:
        return render_template("operator.html", csrf=self._csrf())

    def _judging_page(self) -> ResponseReturnValue:
        csrf = self._csrf()
        return render_template("judging.html" if csrf else "operator.html", csrf=csrf)

    def _sign_in(self) -> ResponseReturnValue:
        try:
            session_id = self.sessions.sign_in(self._given_token(), request.remote_addr or "")
        except ProtocolError as error:
            return render_template("operator.html", csrf=None, fault=error.message), 429
        if session_id is None:
            return render_template("operator.html", csrf=None, fault="That is not the token."), 401
        answer = redirect(url_for("operator.page"), 303)
        answer.set_cookie(
            COOKIE,
            session_id,
            max_age=SESSION_SECONDS,
            path="/operator",
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )
        return answer

    def _given_token(self) -> str:
        request.max_content_length = self.settings.event_bytes
        try:
            return SignIn.model_validate(request.form.to_dict()).token
        except RequestEntityTooLarge:
            return ""

    def _sign_out(self, body: Nothing) -> None:
        self.sessions.sign_out(request.cookies.get(COOKIE, ""))

    def _csrf(self) -> str | None:
        return self.sessions.csrf_of(request.cookies.get(COOKIE, ""))

    def _require_session(self) -> str:
        """What the session's changes have to come with."""
        csrf = self._csrf()
        if csrf is None:
            raise ProtocolError("unauthenticated", "Sign in at /operator.")
        return csrf

    def _body(self, model: type[Body]) -> Body:
        request.max_content_length = self.settings.event_bytes
        try:
            return model.model_validate_json(request.get_data())
        except RequestEntityTooLarge:
            raise ProtocolError("too_large", f"No more than {self.settings.event_bytes} bytes.") from None
        except ValidationError as error:
            raise refusal_of(error) from None

    # Live traffic

    def _overview(self) -> Overview:
        today = datetime.now(UTC).date()
        since = datetime.combine(today - timedelta(days=DAYS - 1), time(), UTC)
        days = [(since + timedelta(days=place)).date().isoformat() for place in range(DAYS)]
        activity = self.service.history.activity(since)
        nothing = dict.fromkeys(COUNTS, 0)
        opinions = self.service.history.opinions(since)
        return Overview(
            days=[Day(day=day, **activity.get(day, nothing)) for day in days],
            checkpoints=[Opinion(**asdict(opinion)) for opinion in opinions],
        )

    def _dullness(self) -> Dullness:
        now = datetime.now(UTC)
        turns = self.service.history.recent_turns(now - max(WINDOWS.values()), TURNS)
        windows = {name: now - width for name, width in WINDOWS.items()}
        found = live_dullness(turns, windows, cache(self._vocabulary_of))
        boards = [
            DullWindow(
                window=name, checkpoints=[DullReplies(checkpoint=who, **asdict(one)) for who, one in rows.items()]
            )
            for name, rows in found.items()
        ]
        return Dullness(windows=boards, oldest=turns[0].created_at.isoformat() if len(turns) == TURNS else None)

    def _vocabulary_of(self, checkpoint: str) -> Vocabulary | None:
        """That of the checkpoint that answered, as long as it is kept."""
        answering = self.service.engine.checkpoint
        if answering.id == checkpoint:
            vocabulary: Vocabulary = answering.vocabulary
            return vocabulary
        try:
            return Vocabulary.load(self._folders()[checkpoint] / "vocabulary.json")
        except (KeyError, OSError, ValueError):
            return None

    # Replies to review

    def _reviews(self) -> Reviews:
        counts = self.service.history.count_reviews()
        reviews = [_review(review) for review in self.service.history.reviews(REVIEWS)]
        return Reviews(reviews=reviews, to_review=counts[True], private=counts[False])

    def _better(self, body: Better) -> None:
        most = self.settings.message_characters
        if len(body.better_text) > most:
            raise ProtocolError(
                "too_large", f"A reply may have {most} characters; this one has {len(body.better_text)}."
            )
        self._set_feedback(body.reply_id, -1, body.better_text)

    def _leave_out(self, body: OfReview) -> None:
        """Neither learned nor trained against, as if nobody had said anything about it."""
        self._set_feedback(body.reply_id, 0, None)

    def _set_feedback(self, reply_id: str, rating: int, better_text: str | None) -> None:
        try:
            review = self.service.history.review_of(reply_id)
            self.service.set_feedback(review.user_id, review.conversation_id, reply_id, rating, better_text)
        except NotFoundError as error:
            raise ProtocolError("not_found", str(error)) from error

    # Training runs

    def _runs(self) -> Runs:
        child = Child(**self.retraining.describe())
        runs = [_run(run) for run in self.service.history.runs(RUNS)]
        for run in runs:
            if run.status == "running" and child.state not in AT_WORK:
                run.status = "interrupted"  # whoever was at it died before it could write so
        return Runs(runs=runs, child=child)

    def _retrain(self, body: Retrain) -> None:
        try:
            self.retraining.start(body.promote)
        except OSError as error:
            raise _unusable(error) from error

    def _stop(self, body: Nothing) -> None:
        self.retraining.stop()

    # Models; to promote one loads torch into this worker

    def _models(self) -> Checkpoints:
        from chatbot.shelf import SHIPPED, live_id, promotions

        made = promotions()[::-1]
        latest = {promotion.checkpoint_id: promotion.at.isoformat() for promotion in reversed(made)}
        runs = {run.checkpoint: run for run in self._candidates()}
        found = [
            Promotable(
                checkpoint=checkpoint,
                shipped=folder == SHIPPED,
                promoted_at=latest.get(checkpoint),
                verdict=runs[checkpoint].status if checkpoint in runs else None,
                parent=runs[checkpoint].parent_checkpoint if checkpoint in runs else None,
            )
            for checkpoint, folder in self._folders().items()
        ]
        return Checkpoints(
            answering=self.service.engine.checkpoint.id,
            live=live_id(),
            checkpoints=sorted(found, key=lambda one: one.promoted_at or "", reverse=True),
            promotions=[_promotion(promotion) for promotion in made[:PROMOTIONS]],
        )

    def _candidates(self) -> list[TrainingRun]:
        """The runs whose checkpoint is still there."""
        runs = self.service.history.runs(RUNS)
        return [run for run in runs if run.checkpoint and _folder_of(run).is_dir()]

    def _folders(self) -> dict[str, Path]:
        """Where each checkpoint is that may be promoted, by its id; a request never names a folder."""
        from chatbot.shelf import SHIPPED, identify, shelf, shelved

        made = {str(run.checkpoint): _folder_of(run) for run in self._candidates()}
        return made | {checkpoint: shelf() / checkpoint for checkpoint in shelved()} | {identify(SHIPPED): SHIPPED}

    def _promote(self, body: Promote) -> None:
        from chatbot.shelf import promote

        folder = self._folders().get(body.checkpoint)
        if folder is None:
            raise ProtocolError("not_found", "There is no such checkpoint any more.")
        _make_live(lambda: promote(folder))

    def _rollback(self, body: Nothing) -> None:
        from chatbot.shelf import rollback

        _make_live(rollback)


def _make_live(how: Callable[[], object]) -> None:
    from chatbot.shelf import CheckpointError

    try:
        how()
    except CheckpointError as error:
        raise ProtocolError("invalid", str(error)) from error
    except OSError as error:
        raise _unusable(error) from error


def _unusable(error: OSError) -> ProtocolError:
    place = error.filename2 or error.filename or "A file"
    return ProtocolError("internal", f"{place} cannot be used ({error.strerror or error}).")


def _folder_of(run: TrainingRun) -> Path:
    return home() / "retrain" / run.id / "checkpoint"


def _review(review: StoredReview) -> Review:
    return Review(
        reply_id=review.reply_id,
        text=review.text,
        checkpoint=review.checkpoint,
        created_at=review.created_at.isoformat(),
        context=[SaidBefore(speaker=speaker, text=text) for speaker, text in review.context],  # type: ignore[arg-type]
    )


def _run(run: TrainingRun) -> Run:
    return Run(
        id=run.id,
        status=run.status,
        parent=run.parent_checkpoint,
        checkpoint=run.checkpoint,
        started_at=run.started_at.isoformat(),
        updated_at=run.updated_at.isoformat(),
        progress=run.progress,
        report=run.report,
    )


def _promotion(promotion: "Promotion") -> Promoted:
    return Promoted(
        checkpoint=promotion.checkpoint_id,
        before=promotion.before,
        at=promotion.at.isoformat(),
        rollback=promotion.is_rollback,
    )


def _keep_nowhere(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
