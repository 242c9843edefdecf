"""What the operator's page, or a script in its place, sends under /operator, and what it is told."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from chatbot.judgements import OTHERS
from web.protocol import Id, Lenient, Moment, Payload, Sent, Utterance

COOKIE = "operator"  # of who has signed in
CSRF_HEADER = "X-CSRF-Token"


class SignIn(Lenient):
    """A form's field; answered with a cookie for what is under /operator."""

    token: str = ""


class OfReview(Payload):
    reply_id: Id


class Better(OfReview):
    """What the reply should have been."""

    better_text: Annotated[Utterance, AfterValidator(str.strip)]


class MarkOf(Payload):
    """What is specific is sensible too."""

    sensible: bool
    specific: bool

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.specific and not self.sensible:
            raise ValueError("what is specific is sensible too")
        return self


class Judge(OfReview):
    """The marks of the replies of a turn, in the order in which they were shown."""

    marks: Annotated[list[MarkOf], Field(min_length=1, max_length=OTHERS + 1)]


class Retrain(Payload):
    """`promote`: make live what passes the gate."""

    promote: bool


class Promote(Payload):
    checkpoint: Annotated[str, Field(max_length=200)]


class Day(Sent):
    """What there was on a day of UTC."""

    day: Annotated[str, Field(json_schema_extra={"format": "date"})]
    conversations: int
    turns: int
    thumbs_up: int
    thumbs_down: int
    bettered: int


class Opinion(Sent):
    """What people thought of a checkpoint's replies."""

    checkpoint: str
    replies: int
    thumbs_up: int
    thumbs_down: int
    bettered: int


class Overview(Sent):
    """The last 30 days, the oldest first; the checkpoint that answered last first."""

    days: list[Day]
    checkpoints: list[Opinion]


class DullReplies(Sent):
    """Shares from 0 to 1 and mean words of a checkpoint's replies; null where there was nothing to count."""

    checkpoint: str
    replies: int
    repeated: float | None
    dull: float | None
    retrieved: float | None
    words: float | None
    unknown: float | None


class DullWindow(Sent):
    window: str
    checkpoints: list[DullReplies]


class Dullness(Sent):
    """`oldest`: when the first of the turns was said that were looked at, where there were too many for all."""

    windows: list[DullWindow]
    oldest: Moment | None


class SaidBefore(Sent):
    speaker: Literal["user", "bot"]
    text: str


class Review(Sent):
    """A reply with thumbs down, and what was said before it."""

    reply_id: Id
    text: str
    checkpoint: str | None
    created_at: Moment
    context: list[SaidBefore]


class Reviews(Sent):
    """The last ones to review, how many there are, and how many more that are nobody's to read here."""

    reviews: list[Review]
    to_review: int
    private: int


class ToJudge(Sent):
    """What was said before a turn, and what might be said there: the reply and some of its candidates, shuffled."""

    reply_id: Id
    context: list[SaidBefore]
    candidates: list[str]


class Judging(Sent):
    """A turn to judge, if there is one, and how many there are of the last thousand replies."""

    turn: ToJudge | None
    left: int


class Share(Sent):
    """From 0 to 1, with its 95 % interval, which one context alone does not give."""

    value: float
    low: float | None
    high: float | None


class JudgedReplies(Sent):
    """Of a checkpoint the replies that were given, or others of their candidates."""

    checkpoint: str
    kind: Literal["given", "candidate"]
    contexts: int
    replies: int
    sensible: Share
    specific: Share
    ssa: Share


class Judged(Sent):
    """The checkpoint that was judged last comes first."""

    systems: list[JudgedReplies]


class Run(Sent):
    """A retraining; `progress` and `report` are its own words."""

    id: str
    status: str
    parent: str
    checkpoint: str | None
    started_at: Moment
    updated_at: Moment
    progress: dict[str, Any]
    report: dict[str, Any] | None


class Child(Sent):
    """The retraining that this server started; `elsewhere` is one that it did not."""

    state: Literal["none", "running", "stopping", "stopped", "failed", "ended", "elsewhere"]
    message: str


class Runs(Sent):
    """The last retrainings, the newest first."""

    runs: list[Run]
    child: Child


class Promotable(Sent):
    """A checkpoint that may be made live, and what its retraining's gate thought of it."""

    checkpoint: str
    shipped: bool
    promoted_at: Moment | None
    verdict: str | None
    parent: str | None


class Promoted(Sent):
    """`checkpoint` was made live instead of `before`."""

    checkpoint: str
    before: str
    at: Moment
    rollback: bool


class Checkpoints(Sent):
    """`live` is what was promoted last, `answering` what this worker answers with."""

    answering: str
    live: str
    checkpoints: list[Promotable]
    promotions: list[Promoted]
