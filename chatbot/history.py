"""Users, conversations, turns, events, feedback and training runs in SQL, and the few queries on them.

SQLite (WAL) by default, PostgreSQL by URL. This module knows neither the model nor the web: a dialogue state is a
blob with the id of the checkpoint that made it. Every change of a conversation takes that conversation's row lock
first (SQLite: the database's write lock), so sequence numbers have no gaps and two tabs cannot both be served.
"""

import hashlib
import random
import secrets
import sqlite3
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import (
    CTE,
    JSON,
    ColumnElement,
    DateTime,
    Engine,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Row,
    String,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    case,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal,
    literal_column,
    make_url,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.engine import URL, Connection, Dialect
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.types import TypeDecorator

from chatbot.addresses import without_password
from chatbot.commits import SharedCommits
from chatbot.home import home
from chatbot.reply import CONTEXT_TURNS, DialogueState

DEFAULT_DATABASE = f"sqlite:///{home()}/chatbot.db"
TITLE_CHARACTERS = 60
SOURCE = "hred-chatbot"
LEASE_SECONDS = 10  # a started reply is its worker's for as long, unless the worker says again that it is at work
REVIEW_TURNS = 5  # that are shown before a reply to be reviewed
PATH_TURNS = 200  # of a path: more are not told apart
BUSY_MS = 30_000  # SQLite's writers wait for one another as long


class HistoryError(Exception):
    """The root of what the history refuses."""


class NotFoundError(HistoryError):
    """No such thing, or it is another user's: the two look the same on purpose."""


class UnknownUserError(HistoryError):
    """Nobody has this id, or not any more."""


class BusyError(HistoryError):
    """A reply is already running in this conversation."""


class ConflictError(HistoryError):
    """This client_msg_id was used before with another text."""


_DAMAGED = {"file is not a database", "database disk image is malformed"}  # as SQLite says it


class DatabaseError(HistoryError):
    """The database cannot be opened; the message is a sentence for the person who named it."""


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def new_id() -> str:
    return str(uuid.uuid4())


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, dict[str, Any]: JSON}  # noqa: RUF012  (SQLAlchemy's own idiom)


class User(Base):
    """An anonymous identity. Of its token only the SHA-256 is kept: a stolen database opens no conversation."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Conversation(Base):
    """A stored, live dialogue: a tree of turns, of which the branch that ends in `active_leaf_id` is shown.

    Only where `learn` is true may a later checkpoint be trained on it.
    """

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "user_id", "updated_at"),)
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    last_seq: Mapped[int] = mapped_column(default=0)
    # No foreign key: turns already point here, and the two are only ever erased together.
    active_leaf_id: Mapped[str | None] = mapped_column(String(36))
    learn: Mapped[bool] = mapped_column(default=False)

    def summary(self) -> dict[str, Any]:
        return {
            "conversation_id": self.id,
            "title": self.title,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "last_seq": self.last_seq,
            "learn": self.learn,
        }


class Turn(Base):
    """An utterance with its speaker and place.

    `state` is the dialogue state after it, made by `checkpoint`; `seq` that of the event which announced it.
    A bot's turn exists, with status 'started', from the moment its question is accepted: whoever finds it there with
    nobody at work on it (`worker`, as long as it is `leased_until`) answers it.
    """

    __tablename__ = "turns"
    __table_args__ = (
        UniqueConstraint("conversation_id", "client_msg_id"),
        UniqueConstraint("conversation_id", "seq"),
        Index(None, "created_at", "speaker", "checkpoint"),  # an operator's figures of the last days
        # The last word on "one reply at a time", and what a starting server reads to carry on.
        Index(
            "uq_turns_running",
            "conversation_id",
            unique=True,
            sqlite_where=text("status = 'started'"),
            postgresql_where=text("status = 'started'"),
        ),
    )
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("turns.id", ondelete="CASCADE"), index=True)
    speaker: Mapped[str] = mapped_column(String(8))  # user | bot
    text: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))  # started | completed | stopped | failed
    state: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    checkpoint: Mapped[str | None] = mapped_column(String(200))
    # What a reply was chosen among, as in `chatbot.reply.Candidate`, the best first.
    candidates: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    client_msg_id: Mapped[str | None] = mapped_column(String(36))
    seq: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)
    is_retrieved: Mapped[bool] = mapped_column("retrieved", default=False)  # somebody's words from a corpus
    guarded: Mapped[str | None] = mapped_column(String(16))  # of a fixed answer, as in `chatbot.reply.Reply`
    worker: Mapped[str | None] = mapped_column(String(200))
    leased_until: Mapped[datetime | None]


class Event(Base):
    """One durable entry of a conversation's stream; `seq` counts from 1 without gaps."""

    __tablename__ = "events"
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)

    def payload(self) -> dict[str, Any]:
        return {"conversation_id": self.conversation_id, "seq": self.seq, "type": self.type, "data": self.data}


class Feedback(Base):
    """What a person thought of a reply: rating -1, 0 or 1, and the reply they would rather have read."""

    __tablename__ = "feedback"
    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True)
    rating: Mapped[int]
    better_text: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class TrainingRun(Base):
    """What became of a retraining: running, completed, rejected (by its gate), promoted, failed or stopped."""

    __tablename__ = "training_runs"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    status: Mapped[str] = mapped_column(String(16), default="running")
    parent_checkpoint: Mapped[str] = mapped_column(String(200))
    checkpoint: Mapped[str | None] = mapped_column(String(200))
    started_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    ended_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    report: Mapped[dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class LessonTurn:
    """What was said, and what a person thought of it: `rating` -1, 0 (also where nobody gave one) or 1."""

    speaker: str  # user | bot
    text: str
    rating: int
    better_text: str | None
    is_retrieved: bool
    guarded: str | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """The active branch of a conversation that may be learned from."""

    conversation_id: str
    user_id: str
    turns: tuple[LessonTurn, ...]


@dataclass(frozen=True, slots=True)
class Opinion:
    """How many replies a checkpoint gave, and what people thought of them."""

    checkpoint: str
    replies: int
    thumbs_up: int = 0
    thumbs_down: int = 0
    bettered: int = 0


@dataclass(frozen=True, slots=True)
class Review:
    """A reply that somebody disliked without saying a better one; `context` is (speaker, text), oldest first."""

    user_id: str
    conversation_id: str
    reply_id: str
    text: str
    checkpoint: str | None
    created_at: datetime
    context: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A started reply and all that is needed to answer it; `context` oldest first, `state` after it if known, `beside`
    the last replies to the same message."""

    user_id: str
    conversation_id: str
    reply_id: str
    utterance: str
    context: tuple[str, ...]
    state: bytes | None
    checkpoint: str | None
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message (or a wish for another reply) that is committed. A duplicate has no events and nothing to answer."""

    message_id: str
    reply_id: str
    seq: int
    duplicate: bool = False
    events: tuple[Event, ...] = ()
    unanswered: Unanswered | None = None
    renamed: dict[str, Any] | None = None  # the conversation's summary, when its first message gave it its title


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """How a reply ended; the states are those after the user's utterance and after the reply."""

    text: str
    status: str
    checkpoint: str
    state_before: bytes | None = None
    state_after: bytes | None = None
    is_retrieved: bool = False
    candidates: list[dict[str, Any]] | None = None
    guarded: str | None = None


@dataclass(frozen=True, slots=True)
class Insight:
    """What a reply was chosen among, the states before and after it, and the question to ask it again."""

    candidates: list[dict[str, Any]]
    before: DialogueState | None
    after: DialogueState | None
    question: Unanswered


@dataclass(frozen=True, slots=True)
class Waypoint:
    """A turn, and the dialogue state after it."""

    turn_id: str
    speaker: str
    state: DialogueState


class History:
    """The stored conversations. Safe to share between threads; every public method is one transaction.

    `worker` is who writes the replies that are started here. Of several workers' leases the machines' clocks decide:
    they have to agree within a few seconds.
    """

    def __init__(self, engine: Engine, worker: str = "") -> None:
        self.engine = engine
        self.worker = worker
        self._reads = sessionmaker(engine, expire_on_commit=False)
        self._emptying, self._is_full = threading.Lock(), False
        self._emptier: threading.Thread | None = None
        self._commits = SharedCommits(engine) if engine.dialect.name == "sqlite" else None
        self._write = self._commits.write if self._commits else sessionmaker(engine, expire_on_commit=False).begin

    def check(self) -> None:
        """Raise SQLAlchemyError unless our tables can be read; SQLite would answer SELECT 1 without its file."""
        with self._reads() as session:
            session.execute(select(User.id).limit(1))

    # Users

    def add_user(self) -> tuple[str, str]:
        """Make an anonymous identity -> (user_id, token); the token cannot be read back later."""
        token = secrets.token_urlsafe(32)
        with self._write() as session:
            user = User(id=new_id(), token_hash=_hash(token))
            session.add(user)
        return user.id, token

    def user_of(self, token: str) -> str | None:
        with self._reads() as session:
            return session.scalar(select(User.id).where(User.token_hash == _hash(token)))

    def check_user(self, user_id: str) -> None:
        """Raise UnknownUserError unless there is such a user."""
        with self._reads() as session:
            if session.get(User, user_id) is None:
                raise UnknownUserError("This user is not known here any more.")

    def delete_user(self, user_id: str) -> list[str]:
        """Erase the user and all that is theirs -> the ids of the conversations erased. Raises UnknownUserError."""
        with self._write() as session:
            user = _locked_user(session, user_id)
            gone = delete(Conversation).where(Conversation.user_id == user_id).returning(Conversation.id)
            erased = list(session.scalars(gone))
            session.delete(user)
        self.empty_log()
        return erased

    # Conversations

    def create_conversation(self, user_id: str, title: str | None = None, learn: bool = False) -> Conversation:
        """Raises UnknownUserError where the user was erased meanwhile."""
        with self._write() as session:
            _locked_user(session, user_id)
            conversation = Conversation(user_id=user_id, title=title, learn=learn)
            session.add(conversation)
        return conversation

    def conversations(self, user_id: str | None = None) -> list[Conversation]:
        """Newest first; without a user everybody's."""
        query = select(Conversation).order_by(Conversation.updated_at.desc(), Conversation.id)
        with self._reads() as session:
            return list(session.scalars(query.where(Conversation.user_id == user_id) if user_id else query))

    def page(
        self, users: Sequence[str], limit: int, after: tuple[datetime, str] | None = None
    ) -> tuple[list[Conversation], bool]:
        """Up to `limit` conversations of these users, the latest first, and whether there are more.

        `after` is when the last one of the page before was changed, and its id.
        """
        query = select(Conversation).order_by(Conversation.updated_at.desc(), Conversation.id).limit(limit + 1)
        if after:
            at, id_ = after
            same_moment = and_(Conversation.updated_at == at, Conversation.id > id_)
            query = query.where(or_(Conversation.updated_at < at, same_moment))
        parts = [users[begin : begin + _MOST_ASKED] for begin in range(0, len(users), _MOST_ASKED)]
        with self._reads() as session:
            found = [one for part in parts for one in session.scalars(query.where(Conversation.user_id.in_(part)))]
        found.sort(key=attrgetter("id"))
        found.sort(key=attrgetter("updated_at"), reverse=True)
        return found[:limit], len(found) > limit

    def rename_conversation(self, user_id: str, conversation_id: str, title: str) -> tuple[Conversation, Event]:
        with self._write() as session:
            conversation = _locked(session, conversation_id, user_id)
            [renamed] = _append(session, conversation, ("conversation.renamed", {"title": title}), title=title)
            return conversation, renamed

    def set_learning(self, user_id: str, conversation_id: str, learn: bool) -> tuple[Conversation, Event]:
        """Say whether a later checkpoint may be trained on this conversation."""
        with self._write() as session:
            conversation = _locked(session, conversation_id, user_id)
            [changed] = _append(session, conversation, ("conversation.learning", {"learn": learn}), learn=learn)
            return conversation, changed

    def delete_conversation(self, user_id: str | None, conversation_id: str) -> None:
        """Erase it with its turns, events, states and feedback; without a user whoever's it is."""
        with self._write() as session:
            _locked(session, conversation_id, user_id)
            session.execute(delete(Conversation).where(Conversation.id == conversation_id))
        self.empty_log()

    def delete_untouched(self, before: datetime) -> list[tuple[str, str]]:
        """Erase the conversations that nothing happened in since `before` -> (user_id, conversation_id) of each."""
        gone = delete(Conversation).where(Conversation.updated_at < before)
        with self._write() as session:
            rows = session.execute(gone.returning(Conversation.user_id, Conversation.id)).all()
        if rows:
            self.empty_log()
        return [(user_id, conversation_id) for user_id, conversation_id in rows]

    def empty_log(self) -> None:
        """Bring SQLite's write-ahead log into its tables, where what was erased is overwritten, and empty it.

        The log cannot be emptied while it is being read. A thread then tries again each second until it succeeds, and a
        server that starts empties the log that an earlier one left.
        """
        if self._commits is None or self._is_emptied(1_000):
            return
        with self._emptying:
            self._is_full = True
            if self._emptier is None:
                self._emptier = threading.Thread(target=self._keep_emptying, name="empty-log", daemon=True)
                self._emptier.start()

    def wait_until_emptied(self, seconds: float) -> bool:
        """Wait for what `empty_log` left to do -> whether it is done."""
        if emptier := self._emptier:
            emptier.join(seconds)
        return self._emptier is None

    def _keep_emptying(self) -> None:
        while True:
            with self._emptying:
                if not self._is_full:
                    self._emptier = None
                    return
                self._is_full = False
            try:
                is_emptied = self._is_emptied(0)
            except (SQLAlchemyError, sqlite3.Error):  # the file has gone, or its disk is full
                is_emptied = False
            if not is_emptied:
                self._is_full = True
                time.sleep(1)

    def _is_emptied(self, wait_ms: int) -> bool:
        assert self._commits is not None
        with self._commits.alone(), closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {wait_ms}")
            try:
                is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError:
                is_busy = True
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            return not is_busy

    # Turns

    def add_message(
        self, user_id: str, conversation_id: str, client_msg_id: str, text: str, parent_id: str | None = None
    ) -> Accepted:
        """Store an utterance after the bot's turn `parent_id` (None: the active leaf) and start its reply.

        Raises NotFoundError, BusyError, ConflictError; the same message again is answered from the first one.
        """
        with self._write() as session:
            conversation = _locked(session, conversation_id, user_id)
            if earlier := _earlier(session, conversation, client_msg_id, text):
                return earlier
            if parent_id is not None:
                _turn(session, conversation, parent_id, "bot")
            parent_id = parent_id or conversation.active_leaf_id
            return _accept(session, conversation, client_msg_id, text, parent_id, self.worker)

    def edit_message(
        self, user_id: str, conversation_id: str, message_id: str, client_msg_id: str, text: str
    ) -> Accepted:
        """Branch off beside the user's turn `message_id`: the same place in the dialogue, another utterance."""
        with self._write() as session:
            conversation = _locked(session, conversation_id, user_id)
            if earlier := _earlier(session, conversation, client_msg_id, text):
                return earlier
            edited = _turn(session, conversation, message_id, "user")
            return _accept(session, conversation, client_msg_id, text, edited.parent_id, self.worker)

    def regenerate_reply(self, user_id: str, conversation_id: str, reply_id: str) -> Accepted:
        """Start another reply to the message that `reply_id` answered."""
        with self._write() as session:
            conversation = _locked(session, conversation_id, user_id)
            message_id = str(_turn(session, conversation, reply_id, "bot").parent_id)
            _refuse_busy(session, conversation)
            reply = _new_reply(conversation.last_seq + 1, conversation, message_id, self.worker)
            session.execute(_ADD_TURNS, [reply])
            events = _append(session, conversation, _started(reply), active_leaf_id=reply["id"])
            unanswered = _unanswered(session, conversation, reply["id"], message_id)
            unanswered = replace(unanswered, beside=_beside(session, message_id))
            return Accepted(message_id, reply["id"], reply["seq"], events=events, unanswered=unanswered)

    def choose_reply(self, user_id: str, conversation_id: str, reply_id: str) -> Event:
        """Make the branch that ends in this reply the active one. Raises NotFoundError, BusyError."""
        with self._write() as session:
            conversation = _locked(session, conversation_id, user_id)
            reply = _turn(session, conversation, reply_id, "bot")
            _refuse_busy(session, conversation)
            chosen = ("reply.chosen", {"reply_id": reply.id})
            return _append(session, conversation, chosen, active_leaf_id=reply.id)[0]

    def finish_reply(self, conversation_id: str, reply_id: str, reply: FinishedReply) -> Event | None:
        """Store how this worker's reply ended -> its event; None if it was erased, taken over or had ended before."""
        state = {"checkpoint": reply.checkpoint}
        with self._write() as session, suppress(NotFoundError):
            conversation = _locked(session, conversation_id)
            said = {"text": reply.text, "status": reply.status, "retrieved": reply.is_retrieved}
            said["guarded"] = reply.guarded
            seen = {"state": reply.state_after, "candidates": reply.candidates}
            mine = {"turn": reply_id, "conversation": conversation.id, "of_worker": self.worker}
            ended = session.execute(_END_REPLY, said | seen | state | mine).first()
            if ended is not None:
                session.execute(_KEEP_STATE, {"state": reply.state_before, "turn": ended.parent_id} | state)
                return _append(session, conversation, _completed(reply_id, ended, reply))[0]
        return None

    def reply_status(self, user_id: str, conversation_id: str, reply_id: str) -> str:
        with self._reads() as session:
            return _turn(session, _owned(session, conversation_id, user_id), reply_id, "bot").status

    def insight(self, user_id: str, conversation_id: str, reply_id: str) -> Insight:
        """Raises NotFoundError."""
        with self._reads() as session:
            conversation = _owned(session, conversation_id, user_id)
            turn = _turn(session, conversation, reply_id, "bot")
            before, after = (_kept_state(one) for one in (session.get_one(Turn, turn.parent_id), turn))
            question = _unanswered(session, conversation, turn.id, turn.parent_id)
            return Insight(turn.candidates or [], before, after, question)

    def path(self, user_id: str, conversation_id: str) -> list[Waypoint]:
        """Where the active branch went, a point for each turn whose state is known, of the last PATH_TURNS turns.

        One more comes first, from which they went. Raises NotFoundError.
        """
        with self._reads() as session:
            asked = {"lowest": _owned(session, conversation_id, user_id).active_leaf_id, "count": PATH_TURNS + 1}
            return [
                Waypoint(turn_id, speaker, DialogueState(state, checkpoint))
                for turn_id, speaker, state, checkpoint in session.execute(_PATH, asked)
                if state is not None and checkpoint
            ]

    def take_over(self, limit: int, *, own: bool = False) -> list[Unanswered]:
        """Up to `limit` started replies that nobody is at work on, oldest first; from now on they are this worker's.

        Each is given to one worker only. With `own` also those that a worker of this name left behind when it died.
        """
        if not self._any_abandoned(own):
            return []  # without waiting for SQLite's writers
        query = select(Turn, Conversation).join(Conversation, Turn.conversation_id == Conversation.id)
        query = query.where(_is_started(), self._is_abandoned(own)).order_by(Turn.created_at).limit(limit)
        with self._write() as session:
            rows = session.execute(query.with_for_update(of=Turn, skip_locked=True)).all()
            for turn, _ in rows:
                turn.worker, turn.leased_until = self.worker, _lease()
            return [_unanswered(session, conversation, turn.id, turn.parent_id) for turn, conversation in rows]

    def renew(self, reply_ids: Collection[str]) -> set[str]:
        """Keep these replies this worker's -> those of them that still are; the others ended or were taken over."""
        mine = update(Turn).where(Turn.id.in_(reply_ids), Turn.worker == self.worker, Turn.status == "started")
        with self._write() as session:
            return set(session.scalars(mine.values(leased_until=_lease()).returning(Turn.id)))

    def _any_abandoned(self, own: bool) -> bool:
        with self._reads() as session:
            found = session.scalar(select(Turn.id).where(_is_started(), self._is_abandoned(own)).limit(1))
        return found is not None

    def _is_abandoned(self, own: bool) -> ColumnElement[bool]:
        unleased = or_(Turn.leased_until.is_(None), Turn.leased_until < now())
        return or_(unleased, Turn.worker == self.worker) if own else unleased

    def set_feedback(
        self, user_id: str, conversation_id: str, reply_id: str, rating: int, better_text: str | None
    ) -> Event:
        """What was thought of the reply before is replaced; rating 0 without a better text takes it back."""
        with self._write() as session:
            conversation = _locked(session, conversation_id, user_id)
            turn = _turn(session, conversation, reply_id, "bot")
            if rating or better_text:
                session.merge(Feedback(turn_id=turn.id, rating=rating, better_text=better_text))
            else:
                session.execute(delete(Feedback).where(Feedback.turn_id == turn.id))
            data = {"reply_id": turn.id, "rating": rating, "better_text": better_text}
            return _append(session, conversation, ("feedback.set", data))[0]

    # Reading

    def events_after(self, user_id: str, conversation_id: str, after_seq: int, limit: int) -> tuple[list[Event], bool]:
        """Up to `limit` events after `after_seq`, in order, and whether there are more."""
        query = select(Event).where(Event.conversation_id == conversation_id, Event.seq > after_seq)
        with self._reads() as session:
            _owned(session, conversation_id, user_id)
            events = list(session.scalars(query.order_by(Event.seq).limit(limit + 1)))
        return events[:limit], len(events) > limit

    def search(self, user_id: str, words: str, limit: int) -> list[tuple[str, str]]:
        """The user's conversations with these words in any branch, whatever their case, the latest first.

        -> (conversation_id, the text of the last turn with them) of up to `limit`.
        """
        theirs = select(Turn.conversation_id, func.max(Turn.seq).label("seq")).join(Conversation)
        theirs = theirs.where(Conversation.user_id == user_id, Turn.text.icontains(words, autoescape=True))
        last = theirs.group_by(Turn.conversation_id).subquery()
        is_last = and_(Turn.conversation_id == last.c.conversation_id, Turn.seq == last.c.seq)
        query = select(Turn.conversation_id, Turn.text).join(last, is_last).join(Conversation)
        with self._reads() as session:
            rows = session.execute(query.order_by(Conversation.updated_at.desc(), Conversation.id).limit(limit))
            return [(conversation_id, text) for conversation_id, text in rows]

    def active_branch(self, conversation_id: str, user_id: str | None = None) -> list[Turn]:
        """The turns from the first to the active leaf. Raises NotFoundError."""
        with self._reads() as session:
            return _branch(session, _owned(session, conversation_id, user_id))

    def dialogue(self, conversation_id: str, user_id: str | None = None) -> dict[str, Any]:
        """The active branch as one line of chat JSONL; what was never said (failed, still running) is left out."""
        messages = [_message(turn) for turn in self.active_branch(conversation_id, user_id) if turn.text]
        return {"id": conversation_id, "source": SOURCE, "messages": messages}

    # Operating

    def activity(self, since: datetime) -> dict[str, dict[str, int]]:
        """Day (UTC, as 2031-12-24) -> what there was of it: conversations, turns, thumbs_up, thumbs_down, bettered."""
        counted = {
            "conversations": (Conversation.created_at, true()),
            "turns": (Turn.created_at, true()),
            "thumbs_up": (Feedback.updated_at, Feedback.rating > 0),
            "thumbs_down": (Feedback.updated_at, Feedback.rating < 0),
            "bettered": (Feedback.updated_at, Feedback.better_text.is_not(None)),
        }
        days: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(counted, 0))
        with self._reads() as session:
            for name, (moment, condition) in counted.items():
                day = _day(session, moment)
                query = select(day, func.count()).where(moment >= since, condition).group_by(day)
                for found, count in session.execute(query):
                    days[str(found)][name] = count
        return dict(days)

    def opinions(self, since: datetime) -> list[Opinion]:
        """What people thought of the replies that each checkpoint gave since then, the latest checkpoint first."""
        replies = select(Turn.checkpoint, func.count()).where(
            Turn.created_at >= since, Turn.speaker == "bot", Turn.checkpoint.is_not(None)
        )
        thumbs = (func.sum(case((chosen, 1), else_=0)) for chosen in (Feedback.rating > 0, Feedback.rating < 0))
        bettered = func.count(Feedback.better_text)
        given = select(Turn.checkpoint, *thumbs, bettered).join(Turn, Feedback.turn_id == Turn.id)
        given = given.where(Turn.created_at >= since).group_by(Turn.checkpoint)
        with self._reads() as session:
            latest_first = replies.group_by(Turn.checkpoint).order_by(func.max(Turn.created_at).desc())
            thought = {checkpoint: counts for checkpoint, *counts in session.execute(given)}
            found = session.execute(latest_first).all()
        return [Opinion(str(checkpoint), count, *thought.get(checkpoint, ())) for checkpoint, count in found]

    def recent_turns(self, since: datetime, limit: int) -> list[Turn]:
        """The last `limit` turns of anybody, of those since then; oldest first."""
        query = select(Turn).where(Turn.created_at >= since).order_by(Turn.created_at.desc()).limit(limit)
        with self._reads() as session:
            return list(session.scalars(query))[::-1]

    def reviews(self, limit: int) -> list[Review]:
        """What is to be reviewed of the conversations that may be learned from, the last opinion first."""
        query = _to_review(Turn, Conversation).where(Conversation.learn)
        query = query.order_by(Feedback.updated_at.desc(), Turn.id).limit(limit)
        with self._reads() as session:
            return [_review(session, turn, conversation) for turn, conversation in session.execute(query)]

    def review_of(self, reply_id: str) -> Review:
        """Raises NotFoundError where it is not, or not any more, among what `reviews` shows."""
        query = _to_review(Turn, Conversation).where(Conversation.learn, Turn.id == reply_id)
        with self._reads() as session:
            found = session.execute(query).first()
            if found is None:
                raise NotFoundError("This reply is not to be reviewed any more.")
            return _review(session, *found)

    def count_reviews(self) -> dict[bool, int]:
        """How many replies are to be reviewed, by whether their conversation may be learned from."""
        query = _to_review(Conversation.learn, func.count()).group_by(Conversation.learn)
        with self._reads() as session:
            return {False: 0, True: 0} | {learn: int(count) for learn, count in session.execute(query)}

    # Learning

    def lessons(self) -> Iterator[Lesson]:
        """Every conversation that may be learned from, oldest first; what was never said is left out.

        One transaction each: a conversation that is erased or taken back meanwhile does not come.
        """
        for conversation_id in self.learnable():
            if lesson := self._lesson(conversation_id):
                yield lesson

    def learnable(self) -> list[str]:
        """The ids of the conversations that may be learned from, oldest first."""
        query = select(Conversation.id).where(Conversation.learn)
        with self._reads() as session:
            return list(session.scalars(query.order_by(Conversation.created_at, Conversation.id)))

    def _lesson(self, conversation_id: str) -> Lesson | None:
        given = select(Feedback).join(Turn, Feedback.turn_id == Turn.id).where(Turn.conversation_id == conversation_id)
        with self._reads() as session:
            conversation = session.get(Conversation, conversation_id)
            if conversation is None or not conversation.learn:
                return None
            feedback = {one.turn_id: one for one in session.scalars(given)}
            said = [turn for turn in _branch(session, conversation) if turn.text]
        turns = tuple(_lesson_turn(turn, feedback.get(turn.id)) for turn in said)
        return Lesson(conversation_id, conversation.user_id, turns) if turns else None

    def begin_run(self, id: str, parent_checkpoint: str) -> None:
        """Record that a retraining of `parent_checkpoint` has begun; one that is known goes on."""
        with self._write() as session:
            if session.get(TrainingRun, id) is None:
                session.add(TrainingRun(id=id, parent_checkpoint=parent_checkpoint))
                return
        self.update_run(id, status="running")

    def update_run(self, id: str, **fields: Any) -> None:
        """Set columns of a run; a status other than running also ends it. Raises NotFoundError."""
        if "status" in fields:
            fields = {"ended_at": None if fields["status"] == "running" else now()} | fields
        with self._write() as session:
            changed = update(TrainingRun).where(TrainingRun.id == id).values(**fields).returning(TrainingRun.id)
            if session.scalar(changed) is None:
                raise NotFoundError(f"There is no training run {id}.")

    def runs(self, limit: int = 50) -> list[TrainingRun]:
        """Newest first."""
        query = select(TrainingRun).order_by(TrainingRun.started_at.desc(), TrainingRun.id)
        with self._reads() as session:
            return list(session.scalars(query.limit(limit)))


def _is_started() -> ColumnElement[bool]:
    """As it is written in the index of the few replies that are, or the database would look through all turns."""
    return _OF_TURN.status == literal_column("'started'")


def _lease() -> datetime:
    return now() + timedelta(seconds=LEASE_SECONDS)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _owned(session: Session, conversation_id: str, user_id: str | None) -> Conversation:
    conversation = session.get(Conversation, conversation_id)
    if conversation is None or user_id not in (None, conversation.user_id):
        raise NotFoundError("There is no such conversation.")
    return conversation


def _locked(session: Session, conversation_id: str, user_id: str | None = None) -> Conversation:
    """The conversation, if it is the user's (None: anybody's), its row locked until the transaction ends.

    A copy, which `_append` keeps up to date.
    """
    row = session.execute(_LOCKED, {"conversation": conversation_id}).mappings().first()
    if row is None or user_id not in (None, row["user_id"]):
        raise NotFoundError("There is no such conversation.")
    return Conversation(**row)


def _locked_user(session: Session, user_id: str) -> User:
    user = session.get(User, user_id, with_for_update=True)
    if user is None:
        raise UnknownUserError("This user is not known here any more.")
    return user


def _branch(session: Session, conversation: Conversation) -> list[Turn]:
    turns = session.scalars(select(Turn).where(Turn.conversation_id == conversation.id))
    by_id = {turn.id: turn for turn in turns}
    branch, turn = [], by_id.get(conversation.active_leaf_id or "")
    while turn:
        branch.append(turn)
        turn = by_id.get(turn.parent_id or "")
    return branch[::-1]


def _message(turn: Turn) -> dict[str, Any]:
    role = {"user": "user", "bot": "assistant"}[turn.speaker]
    kind = {"retrieved": True} if turn.is_retrieved else {}
    fixed = {"guarded": turn.guarded, "weight": 0} if turn.guarded else {}  # which nobody learns who reads this
    return {"role": role, "content": turn.text} | kind | fixed


def _lesson_turn(turn: Turn, feedback: Feedback | None) -> LessonTurn:
    rating, better_text = (feedback.rating, feedback.better_text) if feedback else (0, None)
    return LessonTurn(turn.speaker, turn.text, rating, better_text, turn.is_retrieved, turn.guarded)


def _turn(session: Session, conversation: Conversation, turn_id: str, speaker: str) -> Turn:
    turn = session.get(Turn, turn_id)
    if turn is None or turn.conversation_id != conversation.id or turn.speaker != speaker:
        raise NotFoundError(f"There is no such {'message' if speaker == 'user' else 'reply'} in this conversation.")
    return turn


def _append(
    session: Session, conversation: Conversation, *entries: tuple[str, dict[str, Any]], **changes: Any
) -> tuple[Event, ...]:
    """Adds an event of each (type, data) to a locked conversation's stream, and changes its row."""
    moment = now()
    rows = [
        {"conversation_id": conversation.id, "seq": seq, "type": type, "data": data, "created_at": moment}
        for seq, (type, data) in enumerate(entries, conversation.last_seq + 1)
    ]
    changes |= {"last_seq": conversation.last_seq + len(rows), "updated_at": moment}
    session.execute(_ADD_EVENTS, rows)
    session.execute(_CHANGE, {"conversation": conversation.id} | changes)
    for name, value in changes.items():
        setattr(conversation, name, value)
    return tuple(Event(**row) for row in rows)


def _earlier(session: Session, conversation: Conversation, client_msg_id: str, text: str) -> Accepted | None:
    """What this client_msg_id was answered with the first time, if it was here before."""
    message = session.execute(_EARLIER, {"conversation": conversation.id, "client_msg_id": client_msg_id}).first()
    if message is None:
        return None
    if message.text != text:
        raise ConflictError("This client_msg_id was already used for another text; make a new one.")
    reply_id = session.scalars(select(Turn.id).where(Turn.parent_id == message.id).order_by(Turn.seq)).first()
    return Accepted(message.id, str(reply_id), message.seq, duplicate=True)


def _refuse_busy(session: Session, conversation: Conversation) -> None:
    if session.scalar(_RUNNING, {"conversation": conversation.id}):
        raise BusyError("A reply is still being written in this conversation; wait for it or stop it.")


def _accept(
    session: Session, conversation: Conversation, client_msg_id: str, text: str, parent_id: str | None, worker: str
) -> Accepted:
    _refuse_busy(session, conversation)
    seq = conversation.last_seq + 1
    said = {"text": text, "status": "completed", "client_msg_id": client_msg_id}
    message = _new_turn(seq, conversation, parent_id, "user", **said)
    reply = _new_reply(seq + 1, conversation, message["id"], worker)
    session.execute(_ADD_TURNS, [message, reply])
    untitled = conversation.title is None
    title = {"title": " ".join(text.split())[:TITLE_CHARACTERS]} if untitled else {}
    entries = _created(message), _started(reply)
    return Accepted(
        message["id"],
        reply["id"],
        seq,
        events=_append(session, conversation, *entries, active_leaf_id=reply["id"], **title),
        unanswered=_unanswered(session, conversation, reply["id"], message["id"]),
        renamed=conversation.summary() if untitled else None,
    )


def _new_turn(
    seq: int, conversation: Conversation, parent_id: str | None, speaker: str, **columns: Any
) -> dict[str, Any]:
    """A row of turns."""
    place = {"id": new_id(), "conversation_id": conversation.id, "parent_id": parent_id, "seq": seq}
    nobody = {"client_msg_id": None, "worker": None, "leased_until": None}
    return place | nobody | {"speaker": speaker, "created_at": now(), "retrieved": False, "guarded": None} | columns


def _new_reply(seq: int, conversation: Conversation, message_id: str, worker: str) -> dict[str, Any]:
    lease = {"worker": worker, "leased_until": _lease()}
    return _new_turn(seq, conversation, message_id, "bot", text="", status="started", **lease)


def _created(message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    told = {name: message[name] for name in ("client_msg_id", "parent_id", "text")}
    moment = message["created_at"].isoformat()
    return "message.created", {"message_id": message["id"], **told, "created_at": moment}


def _started(reply: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "reply.started", {"reply_id": reply["id"], "parent_id": reply["parent_id"]}


def _completed(reply_id: str, turn: Row[Any], reply: FinishedReply) -> tuple[str, dict[str, Any]]:
    return "reply.completed", {
        "reply_id": reply_id,
        "parent_id": turn.parent_id,
        "text": reply.text,
        "status": reply.status,
        "checkpoint": reply.checkpoint,
        "retrieved": reply.is_retrieved,
        "guarded": reply.guarded,
        "created_at": turn.created_at.isoformat(),
    }


def _unanswered(session: Session, conversation: Conversation, reply_id: str, message_id: str | None) -> Unanswered:
    message, *earlier = ancestors(session, message_id, CONTEXT_TURNS + 1)
    state = earlier[0].state if earlier else None
    return Unanswered(
        user_id=conversation.user_id,
        conversation_id=conversation.id,
        reply_id=reply_id,
        utterance=message.text,
        context=tuple(turn.text for turn in reversed(earlier) if turn.text),
        state=state,
        checkpoint=earlier[0].checkpoint if state else None,
    )


def _beside(session: Session, message_id: str) -> tuple[str, ...]:
    theirs = select(Turn.text).where(Turn.parent_id == message_id, Turn.text != "")
    return tuple(session.scalars(theirs.order_by(Turn.seq.desc()).limit(CONTEXT_TURNS)))


def _kept_state(turn: Turn) -> DialogueState | None:
    return DialogueState(turn.state, turn.checkpoint) if turn.state is not None and turn.checkpoint else None


def _day(session: Session, moment: Any) -> Any:
    """The day of a moment in UTC, whatever the database thinks of time zones."""
    return func.date(moment if session.get_bind().dialect.name == "sqlite" else func.timezone(text("'UTC'"), moment))


def _to_review(*what: Any) -> Any:
    """Select `what` of replies with thumbs down and no better text, on the branch that a lesson is made of; a fixed
    answer teaches nothing, whatever people thought of it."""
    disliked = (Feedback.rating < 0, Feedback.better_text.is_(None), Turn.guarded.is_(None))
    theirs = select(Turn.conversation_id).join(Feedback, Feedback.turn_id == Turn.id).where(*disliked)
    leaves = select(Conversation.active_leaf_id.label("id")).where(Conversation.id.in_(theirs))
    branches = leaves.cte("branches", recursive=True)
    branches = branches.union_all(select(Turn.parent_id).join(branches, Turn.id == branches.c.id))
    query = select(*what).select_from(Turn).join(Feedback, Feedback.turn_id == Turn.id)
    query = query.join(Conversation, Turn.conversation_id == Conversation.id)
    return query.where(*disliked, Turn.id.in_(select(branches.c.id)))


def _review(session: Session, turn: Turn, conversation: Conversation) -> Review:
    before = [(above.speaker, above.text) for above in ancestors(session, turn.parent_id, REVIEW_TURNS) if above.text]
    return Review(
        conversation.user_id, conversation.id, turn.id, turn.text, turn.checkpoint, turn.created_at, tuple(before[::-1])
    )


def ancestors(session: Session, lowest: str | None, count: int) -> Sequence[Any]:
    """Speaker, text and checkpoint of the turn `lowest` and those above it, nearest first, and the second one's state.

    The cost depends on `count`, never on the length of the conversation.
    """
    return session.execute(_ANCESTORS, {"lowest": lowest, "count": count}).all()


# Built once, and of the tables themselves: they are asked at every message, and to build them, or to keep objects in
# step with their rows, would take as long as the answers.


_CONVERSATIONS, _TURNS, _EVENTS = (Base.metadata.tables[name] for name in ("conversations", "turns", "events"))
_OF_TURN = _TURNS.c


def _line_above() -> CTE:
    """The ids of the turn `lowest`, at distance 1, and of those above it, no more than `count`."""
    line = select(_OF_TURN.id, _OF_TURN.parent_id, literal(1).label("distance")).where(
        _OF_TURN.id == bindparam("lowest")
    )
    above = line.cte("above", recursive=True)
    step = select(_OF_TURN.id, _OF_TURN.parent_id, above.c.distance + 1).join(above, _OF_TURN.id == above.c.parent_id)
    return above.union_all(step.where(above.c.distance < bindparam("count")))


_MOST_ASKED = 10_000  # values in one statement; SQLite takes 32,766
_LOCKED = select(_CONVERSATIONS).where(_CONVERSATIONS.c.id == bindparam("conversation")).with_for_update()
_CHANGE = update(_CONVERSATIONS).where(_CONVERSATIONS.c.id == bindparam("conversation"))
_ADD_TURNS, _ADD_EVENTS = insert(_TURNS), insert(_EVENTS)
_KEEP_STATE = update(_TURNS).where(_OF_TURN.id == bindparam("turn"))
_END_REPLY = (
    _KEEP_STATE.where(_OF_TURN.conversation_id == bindparam("conversation"), _is_started())
    .where(_OF_TURN.worker == bindparam("of_worker"))
    .returning(_OF_TURN.parent_id, _OF_TURN.created_at)
)
_RUNNING = select(_OF_TURN.id).where(_OF_TURN.conversation_id == bindparam("conversation"), _is_started())
_EARLIER = select(_OF_TURN.id, _OF_TURN.text, _OF_TURN.seq).where(
    _OF_TURN.conversation_id == bindparam("conversation"), _OF_TURN.client_msg_id == bindparam("client_msg_id")
)
_LINE = _line_above()
_ANCESTORS = (
    select(
        _OF_TURN.speaker,
        _OF_TURN.text,
        _OF_TURN.checkpoint,
        case((_LINE.c.distance == 2, _OF_TURN.state)).label("state"),
    )
    .join(_LINE, _OF_TURN.id == _LINE.c.id)
    .order_by(_LINE.c.distance)
)
_PATH = (
    select(_OF_TURN.id, _OF_TURN.speaker, _OF_TURN.state, _OF_TURN.checkpoint)
    .join(_LINE, _OF_TURN.id == _LINE.c.id)
    .order_by(_LINE.c.distance.desc())
)


# Opening


def open_history(url: str, *, create: bool = True, worker: str = "") -> History:
    """Open (and, with `create`, first make) the database and bring its tables up to date; `worker` as in History.

    Raises DatabaseError with one clear sentence.
    """
    from alembic.util import CommandError

    from chatbot.migrations import upgrade

    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _prepare_file(parsed, create)
    try:
        engine = connect(parsed)
        upgrade(engine)
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"{without_password(url)} needs the package {error.name}: pip install {error.name}."
        ) from error
    except CommandError as error:
        raise DatabaseError(
            f"The database {without_password(url)} was made by another version of this program."
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise _unusable(url, error) from error
    return History(engine, worker)


@contextmanager
def used(url: str) -> Iterator[None]:
    """Turn what goes wrong with the database meanwhile into a DatabaseError."""
    try:
        yield
    except SQLAlchemyError as error:
        raise _unusable(url, error) from error


def _unusable(url: str, error: Exception) -> DatabaseError:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    advice = " Restore a backup (chatbot history restore), or name another one." if reason in _DAMAGED else ""
    return DatabaseError(f"The database {without_password(url)} cannot be used: {reason}.{advice}")


def connect(url: URL | str) -> Engine:
    """An engine with our settings, whatever the state of its tables."""
    # Errors must not quote what people wrote, hence no parameters in them.
    # PostgreSQL lets in 100 in all unless told otherwise: enough for four processes.
    engine = create_engine(url, pool_size=10, max_overflow=10, pool_pre_ping=True, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _begin
    # Under WAL a commit survives kill -9 even with synchronous=NORMAL, since it is already with the operating
    # system; FULL also syncs the log at each commit, so what was acknowledged survives a power cut too.
    for pragma in (f"busy_timeout = {BUSY_MS}", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("lower", 1, _lower, deterministic=True)
    _use_wal(connection)


def _lower(text: str | None) -> str | None:
    """SQLite's own knows the letters of ASCII only."""
    return text and text.lower()


def _use_wal(connection: Any) -> None:
    """Switch the file to write-ahead logging, which it then stays in.

    Of several that open a new file at once, SQLite refuses all but one without waiting (waiting for one another
    would be a deadlock): those ask again.
    """
    give_up = time.monotonic() + 30
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(random.uniform(0.005, 0.05))


def _begin(connection: Connection) -> None:
    """A writer takes the write lock at once: a reader that wants to become one could only fail."""
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError):
        wanted = "sqlite:///var/chatbot.db or postgresql+psycopg://user:password@host/name"
        given = without_password(url)
        raise DatabaseError(f"{given!r} is not a database URL I can use; give one like {wanted}.") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseError(f"{parsed.get_backend_name()} is not supported: use SQLite or PostgreSQL.")
    return parsed


def _prepare_file(url: URL, create: bool) -> None:
    if url.database in (None, "", ":memory:"):
        raise DatabaseError("The history needs a file: sqlite:///var/chatbot.db, for example.")
    path = Path(str(url.database))
    if not create and not path.exists():
        raise DatabaseError(f"There is no database at {path}: chat first (`chatbot serve`), or name another one.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # conversations are nobody else's business
    except OSError as error:
        raise DatabaseError(f"The database {path} cannot be made: {error.strerror}.") from error


def dialogues(history: History, user_id: str | None = None) -> Iterator[dict[str, Any]]:
    """Every conversation (of a user) in which something was said, as chat JSONL lines, oldest first."""
    for conversation in reversed(history.conversations(user_id)):
        try:
            dialogue = history.dialogue(conversation.id)
        except NotFoundError:
            continue  # erased meanwhile
        if dialogue["messages"]:
            yield dialogue
