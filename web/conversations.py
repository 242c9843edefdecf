"""What happens between a client's event, the stored history and the engine.

A message is committed together with the reply it starts, then acknowledged, then given to the engine. The engine's
callbacks only append to memory; one thread sends the words on, a few others write finished replies to the database.
So a slow disk or a slow client never holds up decoding.

A started reply is leased to the worker that is at work on it. What was acknowledged and has lost its worker is found by
another one, or by the next worker in the same place at its start.
"""

import itertools
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chatbot.forgetting import forget
from chatbot.history import LEASE_SECONDS, Accepted, Event, FinishedReply, History, Unanswered
from chatbot.reply import DialogueState, Reply, ReplyRequest
from web.config import Settings
from web.protocol import ProtocolError
from web.rates import OVERLOADED_MS, Places

DELTA_SECONDS = 0.04
RETRY_SECONDS = (0.1, 0.5, 2.0, 5.0)
RENEW_SECONDS = LEASE_SECONDS / 4
ERASE_SECONDS = 3_600
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeout)
_WRITERS = 4
_STRIPES = 64

log = structlog.get_logger()


class DrainingError(Exception):
    """The server is about to stop; another one, or this one after its restart, will answer."""


class Ticket(Protocol):
    def stop(self) -> None: ...


class Engine(Protocol):
    """What the service asks of an engine; EngineProcess is one."""

    @property
    def checkpoint(self) -> Any: ...
    @property
    def is_running(self) -> bool: ...
    def start(self) -> None: ...
    def close(self, drain_seconds: float = 0) -> None: ...
    def submit(
        self, request: ReplyRequest, on_delta: Callable[[str], None], on_finished: Callable[[Reply], None]
    ) -> Ticket: ...
    def before(self, request: ReplyRequest) -> Reply | None: ...  # of the checkpoint that was live before, if any


# (user_id, event, payload) to all of a user's tabs. It never raises: a reply has to go on whoever leaves meanwhile.
Emit = Callable[[str, str, dict[str, Any]], None]
# (order, {argument: value}) to every worker, this one too: a public method of the service or of the events does it.
Tell = Callable[[str, dict[str, Any]], None]


@dataclass(slots=True)
class RunningReply:
    """A reply being written: the words sent so far, those that wait, and the engine's ticket."""

    question: Unanswered
    sent: str = ""
    waiting: list[str] = field(default_factory=list)
    next_index: int = 0
    ticket: Ticket | None = None
    stopping: bool = False
    sending: threading.Lock = field(default_factory=threading.Lock)  # deltas leave in the order of their index

    @property
    def user_id(self) -> str:
        return self.question.user_id

    @property
    def conversation_id(self) -> str:
        return self.question.conversation_id

    @property
    def reply_id(self) -> str:
        return self.question.reply_id

    def is_of(self, **ids: str) -> bool:
        """Whether its user_id, conversation_id and reply_id are these."""
        return all(getattr(self, name) == id for name, id in ids.items())

    def start_over(self) -> None:
        """Send the words so far once more, with `index` from 0. The caller holds the service's lock."""
        if self.sent:
            self.waiting.insert(0, self.sent)
            self.sent, self.next_index = "", 0

    def next_delta(self) -> dict[str, Any] | None:
        """What is to be sent now. The caller holds the service's lock."""
        text = "".join(self.waiting)
        if not text:
            return None
        self.waiting.clear()
        delta = {
            "conversation_id": self.conversation_id,
            "reply_id": self.reply_id,
            "index": self.next_index,
            "text": text,
        }
        self.sent += text
        self.next_index += 1
        return delta


class ConversationService:
    """Sends, stops, regenerates, edits, rates.

    Every method raises HistoryError, DrainingError, ProtocolError (`overloaded`) or SQLAlchemyError.
    """

    def __init__(
        self, history: History, engine: Engine, emit: Emit, settings: Settings | None = None, tell: Tell | None = None
    ) -> None:
        """Without `tell` there are no other workers."""
        self.history = history
        self.engine = engine
        self.settings = settings or Settings()
        self.draining = False
        self._emit = emit
        self._tell = tell or (lambda order, arguments: getattr(self, order)(**arguments))
        self._lock = threading.Lock()  # of the next three and what is in them; never held while emitting or in SQL
        self._running: dict[str, RunningReply] = {}
        self._answering: Counter[str] = Counter()  # user -> replies with the engine
        self._in_line: defaultdict[str, deque[RunningReply]] = defaultdict(deque)  # user -> those that wait for them
        self._places = Places(self.settings.replies, lambda: [one.user_id for one in list(self._running.values())])
        self._order = [threading.Lock() for _ in range(_STRIPES)]
        self._words = threading.Event()
        self._closed = threading.Event()
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="finish-reply")
        self._sender = threading.Thread(target=self._send_deltas, name="send-deltas", daemon=True)
        self._keeper = threading.Thread(target=self._keep_leases, name="keep-leases", daemon=True)
        self._eraser = threading.Thread(target=self._erase_untouched, name="erase-untouched", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether messages are taken: started, not about to stop. One that is full is ready, and says `overloaded`."""
        return self.engine.is_running and not self.draining

    @property
    def under_way(self) -> int:
        """How many replies this worker is at work on."""
        return len(self._running)

    def start(self) -> None:
        """Start the engine, and carry on with the replies that the last worker in this place left when it died."""
        self.engine.start()
        self._sender.start()
        if self.settings.keep_days:
            self._eraser.start()
        self.history.empty_log()
        self._take_over(own=True)
        self._keeper.start()

    def close(self, drain_seconds: float = 0) -> None:
        """Take no more messages; let running replies end and be written, or stop them after `drain_seconds`."""
        self.draining = True
        for place in self._order:
            with place:  # whatever was let in before is with the engine now
                pass
        self.engine.close(drain_seconds)
        self._closed.set()
        self._words.set()
        self._writers.shutdown(wait=True)
        self._sender.join()
        self._keeper.join()
        if self.settings.keep_days:
            self._eraser.join()  # what it has erased is to be forgotten as well

    @contextmanager
    def in_order(self, conversation_id: str) -> Iterator[None]:
        """Hold a conversation's place in the queue, so that its events leave in the order of their seq."""
        with self._order[hash(conversation_id) % _STRIPES]:
            yield

    # Messages and replies

    def send(
        self, user_id: str, conversation_id: str, client_msg_id: str, text: str, parent_id: str | None
    ) -> Accepted:
        with self._places.hold(user_id), self.in_order(conversation_id):
            self._refuse_draining()
            accepted = self.history.add_message(user_id, conversation_id, client_msg_id, text, parent_id)
            return self._begin(user_id, accepted)

    def edit(self, user_id: str, conversation_id: str, message_id: str, client_msg_id: str, text: str) -> Accepted:
        with self._places.hold(user_id), self.in_order(conversation_id):
            self._refuse_draining()
            accepted = self.history.edit_message(user_id, conversation_id, message_id, client_msg_id, text)
            return self._begin(user_id, accepted)

    def regenerate(self, user_id: str, conversation_id: str, reply_id: str) -> Accepted:
        with self._places.hold(user_id), self.in_order(conversation_id):
            self._refuse_draining()
            accepted = self.history.regenerate_reply(user_id, conversation_id, reply_id)
            return self._begin(user_id, accepted)

    def stop(self, user_id: str, conversation_id: str, reply_id: str) -> None:
        """Stop a running reply, on whatever worker; one that has already ended stays as it is."""
        self.history.reply_status(user_id, conversation_id, reply_id)
        self._tell("stop_here", {"reply_id": reply_id})

    def choose(self, user_id: str, conversation_id: str, reply_id: str) -> None:
        """Go on from this reply: its branch is the one shown, exported and learned from."""
        with self.in_order(conversation_id):
            self._emit_event(user_id, self.history.choose_reply(user_id, conversation_id, reply_id))

    def set_feedback(
        self, user_id: str, conversation_id: str, reply_id: str, rating: int, better_text: str | None
    ) -> None:
        with self.in_order(conversation_id):
            event = self.history.set_feedback(user_id, conversation_id, reply_id, rating, better_text)
            self._emit_event(user_id, event)

    # Conversations

    def create(self, user_id: str, title: str | None, learn: bool = False) -> str:
        conversation = self.history.create_conversation(user_id, title, learn)
        self._notice(user_id, "conversation.created", conversation.summary())
        return conversation.id

    def rename(self, user_id: str, conversation_id: str, title: str) -> None:
        with self.in_order(conversation_id):
            conversation, event = self.history.rename_conversation(user_id, conversation_id, title)
            self._emit_event(user_id, event)
        self._notice(user_id, "conversation.renamed", conversation.summary())

    def set_learning(self, user_id: str, conversation_id: str, learn: bool) -> None:
        with self.in_order(conversation_id):
            conversation, event = self.history.set_learning(user_id, conversation_id, learn)
            self._emit_event(user_id, event)
        self._notice(user_id, "conversation.learning", conversation.summary())
        if not learn:
            forget([conversation_id])

    def delete(self, user_id: str, conversation_id: str) -> None:
        with self.in_order(conversation_id):
            self.history.delete_conversation(user_id, conversation_id)
        self._drop(user_id, conversation_id)
        forget([conversation_id])

    def delete_user(self, user_id: str) -> None:
        """Erase the user and all that is theirs."""
        erased = self.history.delete_user(user_id)
        self._tell("drop_here", {"user_id": user_id})
        self._emit(user_id, "notice", {"type": "user.deleted"})
        forget(erased)

    def delete_untouched(self) -> None:
        """Erase the conversations in which nothing happened for `keep_days`."""
        erased = self.history.delete_untouched(datetime.now(UTC) - timedelta(days=self.settings.keep_days))
        for user_id, conversation_id in erased:
            self._drop(user_id, conversation_id)
        forget(conversation_id for _, conversation_id in erased)

    def _drop(self, user_id: str, conversation_id: str) -> None:
        """What is left to do once a conversation's rows are gone."""
        self._tell("drop_here", {"conversation_id": conversation_id})
        self._notice(user_id, "conversation.deleted", {"conversation_id": conversation_id})

    def partial(self, conversation_id: str) -> list[dict[str, Any]]:
        """The text so far of the replies now running, for a client that joins late.

        Of one that another worker is at work on, the words so far come once more as deltas.
        """
        with self._lock:
            found = [running for running in self._running.values() if running.is_of(conversation_id=conversation_id)]
            partial = [
                {"reply_id": running.reply_id, "next_index": running.next_index, "text": running.sent}
                for running in found
            ]
        if not partial:
            self._tell("repeat_here", {"conversation_id": conversation_id})
        return partial

    # What any worker may tell this one

    def stop_here(self, **ids: str) -> None:
        """Stop the replies with these ids that this worker is at work on."""
        with self._lock:
            found = [running for running in self._running.values() if running.is_of(**ids)]
            for running in found:
                running.stopping = True  # the ticket may still be on its way
            tickets = [running.ticket for running in found if running.ticket]
        for ticket in tickets:
            ticket.stop()

    def drop_here(self, **ids: str) -> None:
        """As `stop_here`, and not a word more of them."""
        self.stop_here(**ids)
        with self._lock:
            for running in [running for running in self._running.values() if running.is_of(**ids)]:
                del self._running[running.reply_id]

    def repeat_here(self, conversation_id: str) -> None:
        """Send the words so far once more, for a client of another worker."""
        with self._lock:
            for running in self._running.values():
                if running.is_of(conversation_id=conversation_id):
                    running.start_over()
        self._words.set()

    @contextmanager
    def unstored(self, who: str) -> Iterator[None]:
        """Hold a place for a reply that is not stored, as messages do; the caller asks the engine for it.

        Nobody waits in line for it: beyond what a user may have with the engine at once it is refused.
        """
        most = self.settings.replies_per_user
        with self._places.hold(who):
            with self._lock:
                if self._answering[who] >= most:
                    raise ProtocolError("rate_limited", f"No more than {most} replies at once; wait.", OVERLOADED_MS)
                self._answering[who] += 1
            try:
                yield
            finally:
                self._give_next(who)

    # From the commit to the engine

    def _refuse_draining(self) -> None:
        if self.draining:
            raise DrainingError("The server is about to restart; send this again in a moment.")

    def _begin(self, user_id: str, accepted: Accepted) -> Accepted:
        for event in accepted.events:
            self._emit_event(user_id, event)
        if accepted.renamed:
            self._notice(user_id, "conversation.renamed", accepted.renamed)
        if accepted.unanswered:
            self._submit(accepted.unanswered)
        return accepted

    def _submit(self, unanswered: Unanswered) -> None:
        """Give a question to the engine, or keep it until one of its user's replies has ended: nobody has more than
        `replies_per_user` there, so that whoever talks in many conversations does not hold up those who talk in one.
        """
        running, user_id = RunningReply(unanswered), unanswered.user_id
        with self._lock:
            self._running[running.reply_id] = running
            if self._answering[user_id] >= self.settings.replies_per_user:
                return self._in_line[user_id].append(running)
            self._answering[user_id] += 1
        self._give(running)

    def _give_next(self, user_id: str) -> None:
        """One of the user's replies has left the engine: the next one that is still wanted takes its place."""
        with self._lock:
            waiting = self._in_line.pop(user_id, deque())
            wanted = deque(running for running in waiting if self._running.get(running.reply_id) is running)
            if not wanted:
                self._answering[user_id] -= 1
                self._answering += Counter()  # without the zeros
                return
            running = wanted.popleft()
            if wanted:
                self._in_line[user_id] = wanted
        self._give(running)

    def _give(self, running: RunningReply) -> None:
        try:
            ticket = self.engine.submit(
                request_of(running.question),
                lambda text: self._add_words(running, text),
                lambda reply: self._hand_over(running, reply),
            )
        except Exception:
            # The message is committed all the same: a closing engine's replies wait for the next start.
            if not self.draining:
                log.exception("reply not begun", reply_id=running.reply_id)
                self._hand_over(running, Reply("", "failed", self.engine.checkpoint.id, None, None))
            return
        with self._lock:
            running.ticket, stopping = ticket, running.stopping
        if stopping:
            ticket.stop()

    # On the engine's thread: memory only

    def _add_words(self, running: RunningReply, text: str) -> None:
        with self._lock:
            running.waiting.append(text)
        self._words.set()

    def _hand_over(self, running: RunningReply, reply: Reply) -> None:
        self._writers.submit(copy_context().run, self._finish, running, reply)  # logs name the request still

    # Off the engine's thread

    def _send_deltas(self) -> None:
        while not self._closed.is_set():
            self._words.wait()
            self._words.clear()
            with self._lock:
                replies = list(self._running.values())
            for running in replies:
                self._send_words(running)
            self._closed.wait(DELTA_SECONDS)

    def _keep_leases(self) -> None:
        """Say again and again that this worker is at work, and take over from those that no longer do."""
        while not self._closed.wait(RENEW_SECONDS):
            try:
                self._renew_leases()
                if not self.draining:
                    self._take_over()
            except (SQLAlchemyError, OSError) as error:
                log.warning("leases not renewed", error=str(error))

    def _renew_leases(self) -> None:
        with self._lock:
            ids = list(self._running)
        for lost in set(ids) - self.history.renew(ids) if ids else ():
            self.drop_here(reply_id=lost)  # it has just ended, or another worker has taken it over

    def _take_over(self, *, own: bool = False) -> None:
        room = self.settings.replies - self.under_way
        for unanswered in self.history.take_over(room, own=own) if room > 0 else ():
            log.info("reply taken over", reply_id=unanswered.reply_id)
            self._submit(unanswered)

    def _erase_untouched(self) -> None:
        while True:
            try:
                self.delete_untouched()
            except (SQLAlchemyError, OSError):
                log.exception("untouched conversations not erased")
            if self._closed.wait(ERASE_SECONDS):
                return

    def _send_words(self, running: RunningReply) -> None:
        with running.sending:
            with self._lock:
                delta = running.next_delta() if self._running.get(running.reply_id) is running else None
            if delta:
                self._emit(running.user_id, "reply.delta", delta)

    def _finish(self, running: RunningReply, reply: Reply) -> None:
        """Send the last words, then write the end, again and again while the database is away."""
        self._give_next(running.user_id)
        self._send_words(running)
        finished = _finished(reply)
        for pause in itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1])):
            try:
                return self._store(running, finished)
            except DATABASE_AWAY as error:
                log.warning("reply not stored yet", reply_id=running.reply_id, error=str(error))
            except Exception:
                log.exception("reply cannot be stored", reply_id=running.reply_id)
                finished = FinishedReply("", "failed", reply.checkpoint)
            if self._closed.wait(pause):
                return None  # it stays started, and another worker carries on

    def _store(self, running: RunningReply, finished: FinishedReply) -> None:
        with self.in_order(running.conversation_id):
            event = self.history.finish_reply(running.conversation_id, running.reply_id, finished)
            with self._lock:
                if self._running.get(running.reply_id) is running:
                    del self._running[running.reply_id]
            if event:
                self._emit_event(running.user_id, event)

    def _emit_event(self, user_id: str, event: Event) -> None:
        self._emit(user_id, "event", event.payload())

    def _notice(self, user_id: str, type: str, conversation: dict[str, Any]) -> None:
        self._emit(user_id, "notice", {"type": type, "conversation": conversation})


def request_of(unanswered: Unanswered) -> ReplyRequest:
    """What the engine is asked."""
    state = None
    if unanswered.state is not None and unanswered.checkpoint is not None:
        state = DialogueState(unanswered.state, unanswered.checkpoint)
    return ReplyRequest(unanswered.utterance, unanswered.context, state, beside=unanswered.beside)


def _finished(reply: Reply) -> FinishedReply:
    before, after = reply.state_before, reply.state_after
    return FinishedReply(
        reply.text,
        reply.status,
        reply.checkpoint,
        before.vector if before else None,
        after.vector if after else None,
        reply.is_retrieved,
        [asdict(candidate) for candidate in reply.candidates] or None,
        reply.guarded,
    )
