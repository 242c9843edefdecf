"""Protocol v1: what clients may send, checked, and the errors they get. The names and limits are the public promise."""

import math
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    StringConstraints,
    ValidationError,
)
from socketio import packet
from socketio.packet import Packet

from chatbot.reply import Source
from data.cleaning import is_blank

PROTOCOL = 1
SYNC_LIMIT = 200
LIST_LIMIT = 200
STATUS = {  # over HTTP
    "invalid": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "busy": 409,
    "idempotency_conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "internal": 500,
    "overloaded": 503,
    "draining": 503,
}


class TextPacket(Packet):
    """Socket.IO's packets, so that none leaves its sender without an answer.

    A binary event (one whose attachments never come would leave its connection deaf), an event without a proper name
    and one with a name that Socket.IO keeps for itself become an event that no handler knows, acknowledged as invalid.
    """

    packet_type: int

    def decode(self, encoded_packet: str) -> int:
        attachments = super().decode(encoded_packet)
        if self.packet_type == packet.BINARY_EVENT or self._is_malformed_event():
            self.packet_type, self.data = packet.EVENT, ["(malformed)"]
        elif self.packet_type == packet.BINARY_ACK:
            raise ValueError("nothing is ever asked of a client that it could answer in binary")
        return 0 if self.packet_type == packet.EVENT else int(attachments or 0)

    def _is_malformed_event(self) -> bool:
        if self.packet_type != packet.EVENT:
            return False
        name = self.data[0] if isinstance(self.data, list) and self.data else None
        return not isinstance(name, str) or name in ("connect", "disconnect", "*")


class ProtocolError(Exception):
    """A refusal: `code` is one of docs/protocol.md, `message` a sentence fit for a person."""

    def __init__(self, code: str, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_ms = code, message, retry_after_ms

    def as_dict(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.retry_after_ms is not None:
            error["retry_after_ms"] = self.retry_after_ms
        return error


def retry_after(error: ProtocolError) -> dict[str, str]:
    """The HTTP header that says when to try again, in whole seconds."""
    wait = error.retry_after_ms
    return {} if wait is None else {"Retry-After": str(math.ceil(wait / 1000))}


INTERNAL = ProtocolError("internal", "Something went wrong here; try again.")


def refusal_of(error: ValidationError) -> ProtocolError:
    """Names the first field that is wrong, and never what was written there."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "The event"
    return ProtocolError("invalid", f"{where}: {first['msg'].removeprefix('Value error, ')}.")


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("it is not a UUID") from None


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds the character U+0000")  # PostgreSQL cannot store it
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it holds half of a surrogate pair")
    return text


def _with_words(text: str) -> str:
    if is_blank(text):
        raise ValueError("it is empty")
    return text


def _place(cursor: str) -> tuple[datetime, str]:
    try:
        moment, _, conversation_id = cursor.partition(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), str(UUID(conversation_id))
    except (ValueError, OverflowError):
        raise ValueError("it is not the 'next' of a page of conversations") from None


Cursor = Annotated[str, AfterValidator(lambda cursor: _place(cursor) and cursor)]
Id = Annotated[str, AfterValidator(_uuid), Field(json_schema_extra={"format": "uuid"})]
PlainText = Annotated[str, AfterValidator(_storable)]
Utterance = Annotated[PlainText, AfterValidator(_with_words)]
BetterText = Annotated[PlainText, AfterValidator(lambda text: None if is_blank(text) else text.strip())]
Title = Annotated[PlainText, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Seq = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Payload(BaseModel):
    """Strict, and nothing unknown: a misspelt field is an error, not a surprise."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Lenient(BaseModel):
    """For clients that were made for others too: what means nothing here is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Place(Payload):
    """Where a client left off in a conversation."""

    conversation_id: Id
    after_seq: Seq = 0


class Hello(Payload):
    """The connect packet's `auth`."""

    token: Annotated[PlainText, Field(max_length=200)] | None = None
    key: Annotated[PlainText, Field(max_length=200)] | None = None  # an API key, where the operator has made some
    protocol: int = PROTOCOL
    resume: Annotated[list[Place], Field(max_length=100)] = []


class Nothing(Payload):
    pass


class OfConversation(Payload):
    conversation_id: Id


class ConversationsAsked(Payload):
    """Ask for conversations, the latest first; `after` is the `next` of the page before."""

    after: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=LIST_LIMIT)] = LIST_LIMIT

    @property
    def place(self) -> tuple[datetime, str] | None:
        """When the last conversation of the page before was changed, and its id."""
        return _place(self.after) if self.after else None


class OfReply(OfConversation):
    reply_id: Id


class MessageSend(OfConversation):
    """Say something; acknowledged once it is stored. The same `client_msg_id` again says nothing twice."""

    client_msg_id: Id
    text: Utterance
    parent_id: Id | None = None


class MessageEdit(OfConversation):
    """Say something else instead: a branch of its own, with a reply of its own."""

    message_id: Id
    client_msg_id: Id
    text: Utterance


class FeedbackSet(OfReply):
    """What is thought of a reply; rating 0 without a better text takes it back."""

    rating: Annotated[int, Field(ge=-1, le=1)]
    better_text: BetterText | None = None


class ConversationCreate(Payload):
    """Begin a conversation."""

    title: Title | None = None
    learn: bool | None = None  # None: as the server's operator wants it


class ConversationSearch(Payload):
    """Which conversations have these words in them, whatever their case."""

    text: Annotated[Utterance, Field(max_length=200)]


class ConversationSetLearning(OfConversation):
    """Whether a later checkpoint may be trained on it."""

    learn: bool


class ConversationRename(OfConversation):
    """Give it a title."""

    title: Title


class Sync(Place):
    """Ask for what was missed, and for the text so far of running replies."""

    limit: Annotated[int, Field(ge=1, le=SYNC_LIMIT)] = SYNC_LIMIT


def _is_storable(text: str) -> bool:
    with suppress(ValueError):
        return bool(_storable(text))
    return False


class SessionRequest(Lenient):
    """Of a widget made for Rasa; answered with `session_confirm`. Another server's session id counts as none."""

    session_id: Annotated[
        str | None, BeforeValidator(lambda given: given if isinstance(given, str) and _is_storable(given) else None)
    ] = None


class UserUttered(Lenient):
    """Of a widget made for Rasa; answered with `bot_uttered`, unless it is a payload such as /get_started."""

    message: Utterance


# What the server sends. It is made elsewhere as plain objects; these say what they look like, in docs/ and in tests.

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
ReplyStatus = Literal["completed", "stopped", "failed"]


class Sent(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Limits(Sent):
    message_characters: int
    event_bytes: int
    messages_per_minute: int
    connections_per_user: int


class AnsweringModel(Sent):
    checkpoint: str


class Ready(Sent):
    """Sent once after connecting; `name` is the chatbot's name; `token` is sent only to a new user."""

    user_id: Id
    token: str | None = None
    name: str
    protocol: int
    limits: Limits
    learn: bool
    model: AnsweringModel


class Summary(OfConversation):
    title: str | None
    created_at: Moment
    updated_at: Moment
    last_seq: Seq
    learn: bool


class MessageCreated(Sent):
    message_id: Id
    client_msg_id: Id
    parent_id: Id | None
    text: str
    created_at: Moment


class ReplyStarted(Sent):
    reply_id: Id
    parent_id: Id


class ReplyCompleted(ReplyStarted):
    text: str
    status: ReplyStatus
    checkpoint: str | None
    retrieved: bool
    guarded: str | None = None  # the category of what got a fixed answer, as chatbot.safety calls it
    created_at: Moment


class FeedbackGiven(Sent):
    reply_id: Id
    rating: Annotated[int, Field(ge=-1, le=1)]
    better_text: str | None


class ReplyChosen(Sent):
    reply_id: Id


class Renamed(Sent):
    title: str


class Learning(Sent):
    learn: bool


class Durable(OfConversation):
    """An entry of a conversation's stream: `seq` counts 1, 2, 3 without a gap."""

    seq: Annotated[int, Field(ge=1)]


class MessageCreatedEvent(Durable):
    type: Literal["message.created"]
    data: MessageCreated


class ReplyStartedEvent(Durable):
    type: Literal["reply.started"]
    data: ReplyStarted


class ReplyCompletedEvent(Durable):
    type: Literal["reply.completed"]
    data: ReplyCompleted


class FeedbackSetEvent(Durable):
    type: Literal["feedback.set"]
    data: FeedbackGiven


class ReplyChosenEvent(Durable):
    type: Literal["reply.chosen"]
    data: ReplyChosen


class RenamedEvent(Durable):
    type: Literal["conversation.renamed"]
    data: Renamed


class LearningEvent(Durable):
    type: Literal["conversation.learning"]
    data: Learning


class Event(
    RootModel[
        Annotated[
            MessageCreatedEvent
            | ReplyStartedEvent
            | ReplyCompletedEvent
            | FeedbackSetEvent
            | ReplyChosenEvent
            | RenamedEvent
            | LearningEvent,
            Field(discriminator="type"),
        ]
    ]
):
    """Durable: what was missed of it is brought by `resume` and `sync`."""


class ReplyDelta(OfReply):
    """The next words of a reply. Not kept: a gap in `index` asks for `sync`."""

    index: Seq
    text: str


class ConversationNotice(Sent):
    type: Literal["conversation.created", "conversation.renamed", "conversation.learning"]
    conversation: Summary


class DeletionNotice(Sent):
    type: Literal["conversation.deleted"]
    conversation: OfConversation


class ServerNotice(Sent):
    """user.deleted: all of this user's is erased, the connection is about to close. draining: the server is to stop."""

    type: Literal["user.deleted", "draining"]


class Notice(RootModel[Annotated[ConversationNotice | DeletionNotice | ServerNotice, Field(discriminator="type")]]):
    """What concerns a user and no single conversation's stream."""


class Error(Sent):
    """`message` is a sentence for a person."""

    code: Literal[tuple(STATUS)]  # type: ignore[valid-type]
    message: str
    retry_after_ms: int | None = None


class Refusal(Sent):
    ok: Literal[False]
    error: Error


class Done(Sent):
    ok: Literal[True]


class MessageAccepted(Done):
    """The message is stored. `duplicate`: it was before, and has been answered."""

    message_id: Id
    reply_id: Id
    seq: Seq
    duplicate: bool


class MessageTaken(Done):
    """MessageAccepted, or nothing where a widget's message waits for an earlier reply, or was a payload."""

    message_id: Id | None = None
    reply_id: Id | None = None
    seq: Seq | None = None
    duplicate: bool | None = None


class ReplyBegun(Done):
    reply_id: Id


class ConversationCreated(Done):
    conversation_id: Id


class Conversations(Sent):
    """200 at most; `next` asks for those after them and is null where there are none."""

    conversations: list[Summary]
    next: str | None


class ConversationList(Done, Conversations):
    pass


class Found(OfConversation):
    """`excerpt` is of the last utterance that has the words, in whatever branch."""

    excerpt: str


class SearchResult(Done):
    """The latest conversation first; 50 at most."""

    found: list[Found]


class ChosenAmong(Sent):
    """A candidate of a reply: log p(y|s) and log p(y) in nats, the probabilities that it is sensible and specific where
    the checkpoint can tell, where it comes from, and the score that these make."""

    text: str
    score: float
    log_probability: float
    log_prior: float
    relevance: float
    repetition: float
    sensible: float | None
    specific: float | None
    source: Source
    retrieved: bool


class Explanation(Done):
    """The candidates, the best first, none where there was no choice; how far the reply moved the dialogue state."""

    candidates: list[ChosenAmong]
    moved: float | None


class Point(Sent):
    """A turn on the map: x from the left, y from the top, from 0 to 1 for nearly all; how far it moved the state."""

    turn_id: Id
    speaker: Literal["user", "bot"]
    x: float
    y: float
    moved: float | None


class DensityMap(Sent):
    """How often a corpus' states fell into each square, from 0 to 1, the first row at the top."""

    density: list[list[float]]


class DialoguePath(Done):
    """The states after the last 200 turns of the active branch; no points where the checkpoint has no map."""

    points: list[Point]
    map: DensityMap | None


class WordTree(Sent):
    """A word of the beams, its probability after those before it, and the words that came next; the root has none."""

    word: str
    probability: float
    children: list["WordTree"]


class Variant(Sent):
    name: Literal["greedy", "beam", "sample", "chosen", "before"]
    text: str


class Comparison(Done):
    """What else would be said at this turn, also by the checkpoint before, and the beam search as a tree of words."""

    variants: list[Variant]
    tree: WordTree


class Partial(Sent):
    reply_id: Id
    next_index: Seq
    text: str


class Synced(Done):
    """Events after `after_seq`, whether there are more, and the text so far of the replies now running."""

    events: list[Event]
    more: bool
    partial: list[Partial]


class SessionConfirm(RootModel[str]):
    """To a widget made for Rasa: the session id to come back with."""


class BotUttered(Sent):
    """To a widget made for Rasa: a reply, or why there is none."""

    text: str


FROM_SERVER: dict[str, type[BaseModel]] = {
    "ready": Ready,
    "event": Event,
    "reply.delta": ReplyDelta,
    "notice": Notice,
}
# Each with what it carries and what it is acknowledged with, where it is not refused.
FROM_CLIENT: dict[str, tuple[type[BaseModel], type[Done]]] = {
    "message.send": (MessageSend, MessageAccepted),
    "message.edit": (MessageEdit, MessageAccepted),
    "reply.stop": (OfReply, Done),
    "reply.regenerate": (OfReply, ReplyBegun),
    "reply.choose": (OfReply, Done),
    "reply.explain": (OfReply, Explanation),
    "reply.compare": (OfReply, Comparison),
    "feedback.set": (FeedbackSet, Done),
    "conversation.create": (ConversationCreate, ConversationCreated),
    "conversation.list": (ConversationsAsked, ConversationList),
    "conversation.search": (ConversationSearch, SearchResult),
    "conversation.path": (OfConversation, DialoguePath),
    "conversation.rename": (ConversationRename, Done),
    "conversation.set_learning": (ConversationSetLearning, Done),
    "conversation.delete": (OfConversation, Done),
    "user.delete": (Nothing, Done),
    "sync": (Sync, Synced),
}
# Rasa's channel, for widgets that know no other.
FROM_RASA: dict[str, tuple[type[BaseModel], type[Done]]] = {
    "session_request": (SessionRequest, Done),
    "user_uttered": (UserUttered, MessageTaken),
}
TO_RASA: dict[str, type[BaseModel]] = {"session_confirm": SessionConfirm, "bot_uttered": BotUttered}
