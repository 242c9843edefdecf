"""The Socket.IO side of protocol v1: handlers verify, delegate, and always acknowledge."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from flask import request
from flask_socketio import ConnectionRefusedError, SocketIO
from pydantic import BaseModel, ValidationError

from chatbot.history import Accepted, BusyError, ConflictError, History, HistoryError, NotFoundError, UnknownUserError
from web import protocol
from web.access import Access, Admitted
from web.comparison import WAYS, compare
from web.config import Settings
from web.conversations import ConversationService, DrainingError, request_of
from web.lines import Lines
from web.logs import identified_event
from web.metrics import Metrics
from web.paths import moved, path_on
from web.protocol import ProtocolError, refusal_of
from web.rates import Rates
from web.workers import WORKERS, Clients

log = structlog.get_logger()

MOST_FOUND = 50  # conversations, by a search

Answer = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)

CODES: dict[type[Exception], str] = {
    NotFoundError: "not_found",
    UnknownUserError: "unauthenticated",
    BusyError: "busy",
    ConflictError: "idempotency_conflict",
    DrainingError: "draining",
}


class Events:
    """The handlers of one server, and who is connected to it."""

    def __init__(
        self,
        socketio: SocketIO,
        service: ConversationService,
        settings: Settings,
        access: Access,
        rates: Rates,
        metrics: Metrics,
    ) -> None:
        self.socketio = socketio
        self.service = service
        self.settings = settings
        self.access = access
        self.rates = rates
        self.metrics = metrics
        self._users: dict[str, str] = {}  # sid -> user_id
        self.new_tokens: dict[str, str] = {}  # sid -> the token of a user who was new with this connection
        self._keys: dict[str, str] = {}  # sid -> id of the API key that lets it in, if one does
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._lines = Lines(socketio.server, settings.connections, self._lines_of_users)

    @property
    def _clients(self) -> Clients:
        clients: Clients = self.socketio.server.manager
        return clients

    def register(self) -> None:
        self.socketio.on_event("connect", self._connect)
        self.socketio.on_event("disconnect", self._disconnect)
        self.on("message.send", protocol.MessageSend, self.send)
        self.on("message.edit", protocol.MessageEdit, self._edit)
        self.on("reply.stop", protocol.OfReply, self._stop)
        self.on("reply.regenerate", protocol.OfReply, self._regenerate)
        self.on("reply.choose", protocol.OfReply, self._choose)
        self.on("reply.explain", protocol.OfReply, self._explain)
        self.on("reply.compare", protocol.OfReply, self._compare)
        self.on("feedback.set", protocol.FeedbackSet, self._set_feedback)
        self.on("conversation.create", protocol.ConversationCreate, self._create)
        self.on("conversation.list", protocol.ConversationsAsked, self._list)
        self.on("conversation.search", protocol.ConversationSearch, self._search)
        self.on("conversation.path", protocol.OfConversation, self._path)
        self.on("conversation.rename", protocol.ConversationRename, self._rename)
        self.on("conversation.set_learning", protocol.ConversationSetLearning, self._set_learning)
        self.on("conversation.delete", protocol.OfConversation, self._delete)
        self.on("user.delete", protocol.Nothing, self._delete_user)
        self.on("sync", protocol.Sync, self._sync)
        self.socketio.on_event("*", self._unknown)

    def start(self) -> None:
        """Keep looking after the lines, until `close`."""
        threading.Thread(target=self._lines.watch, args=(self._closed,), name="watch-lines", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def on(self, name: str, model: type[Model], handle: Callable[[str, Model], Answer]) -> None:
        def handler(*arguments: Any) -> Answer:
            sid = request.sid  # type: ignore[attr-defined]
            self._clients.drop_if_deaf(self._line(sid))
            return self._answer(name, lambda: handle(self._user(), self._payload(model, arguments)))

        self.socketio.on_event(name, handler)

    # Connections

    def _connect(self, auth: Any = None) -> None:
        refusal = self._answer("connect", lambda: self._admit(request.sid, auth))  # type: ignore[attr-defined]
        if not refusal["ok"]:
            self.socketio.start_background_task(self._dismiss, self._line(request.sid))  # type: ignore[attr-defined]
            raise ConnectionRefusedError(refusal["error"]["message"], refusal["error"])

    def _admit(self, sid: str, auth: Any) -> Answer:
        self.rates.connection(request.remote_addr or "")
        hello = self._payload(protocol.Hello, (auth,) if auth else ())
        if hello.protocol != protocol.PROTOCOL:
            raise ProtocolError("invalid", f"This server speaks protocol {protocol.PROTOCOL}.")
        if self.service.draining:
            raise DrainingError("The server is about to restart; connect again in a moment.")
        admitted = self.access.admit(hello.token, hello.key)
        self._enter(sid, admitted)
        if admitted.new_token:
            self.new_tokens[sid] = admitted.new_token
        self.socketio.start_background_task(self._welcome, sid, admitted.user_id, admitted.new_token, hello.resume)
        return {}

    def _enter(self, sid: str, admitted: Admitted) -> None:
        with self._lock:
            if sid not in self._users and len(self._users) >= self.settings.connections:
                raise ProtocolError("overloaded", "The server is full; try again in a moment.", 5_000)
            if Counter(self._users.values())[admitted.user_id] >= self.settings.connections_per_user:
                most = self.settings.connections_per_user
                raise ProtocolError("rate_limited", f"No more than {most} connections at once; close one.", 5_000)
            self._users[sid] = admitted.user_id
            if admitted.key_id:
                self._keys[sid] = admitted.key_id
            self.metrics.connections.set(len(self._users))

    def become(self, sid: str, token: str) -> str:
        """Make a connection that of the user with this token, and return the user's id.

        It counts as another connection from this address. Raises ProtocolError where the token is not valid.
        """
        self.rates.connection(request.remote_addr or "")
        admitted = self.access.known(token)
        self._enter(sid, admitted)
        self.socketio.server.enter_room(sid, admitted.user_id)
        return admitted.user_id

    def _disconnect(self, reason: str) -> None:
        with self._lock:
            self._users.pop(request.sid, None)  # type: ignore[attr-defined]
            self.metrics.connections.set(len(self._users))
            self.new_tokens.pop(request.sid, None)  # type: ignore[attr-defined]
            self._keys.pop(request.sid, None)  # type: ignore[attr-defined]

    def keep_only(self, keys: Collection[str]) -> None:
        """Hang up on whoever came in by another API key than these."""
        with self._lock:
            gone = [sid for sid, key_id in self._keys.items() if key_id not in keys]
        for sid in gone:
            self._lines.hang_up(self._line(sid))

    def _line(self, sid: str) -> str | None:
        """Engine.IO's name of the connection that `sid` is on."""
        with suppress(KeyError):  # the last client of all has just left
            line: str | None = self._clients.eio_sid_from_sid(sid, "/")
            return line
        return None

    def _lines_of_users(self) -> set[str | None]:
        with self._lock:
            sids = list(self._users)
        return {self._line(sid) for sid in sids}

    def _dismiss(self, line: str | None) -> None:
        """Hang up on a client that was refused or erased, once it has been told: each line keeps a thread."""
        time.sleep(1)
        self._lines.hang_up(line)

    def _welcome(self, sid: str, user_id: str, new_token: str | None, resume: list[protocol.Place]) -> None:
        """Say `ready` and what was missed, once the client knows that it is connected."""
        while not self._clients.is_connected(sid, "/"):
            if sid not in self._users:
                return
            time.sleep(0.001)
        try:
            self.socketio.server.enter_room(sid, user_id)
            self.socketio.emit("ready", self._ready(user_id, new_token), to=sid, ignore_queue=True)
            for place in resume:
                while self._clients.unread(self._line(sid)) > protocol.SYNC_LIMIT:
                    time.sleep(0.01)  # as fast as it reads
                self._send_missed(sid, user_id, place)
        except Exception:
            log.exception("welcome failed")
            self._lines.hang_up(self._line(sid))  # it will come back and try again

    def _ready(self, user_id: str, new_token: str | None) -> Answer:
        names = ("message_characters", "event_bytes", "messages_per_minute", "connections_per_user")
        ready = {
            "user_id": user_id,
            "name": self.settings.name,
            "protocol": protocol.PROTOCOL,
            "limits": {name: getattr(self.settings, name) for name in names},
            "learn": self.settings.learn,
            "model": {"checkpoint": self.service.engine.checkpoint.id},
        }
        return ready | ({"token": new_token} if new_token else {})

    def _send_missed(self, sid: str, user_id: str, place: protocol.Place) -> None:
        with self.service.in_order(place.conversation_id):
            try:
                events, _ = self.service.history.events_after(
                    user_id, place.conversation_id, place.after_seq, protocol.SYNC_LIMIT
                )
            except NotFoundError:
                return  # erased meanwhile: the list of conversations tells
            for event in events:
                self.socketio.emit("event", event.payload(), to=sid, ignore_queue=True)

    # Messages and replies

    def send(self, user_id: str, payload: protocol.MessageSend) -> Answer:
        self._check_length(payload.text)
        self.rates.reply(user_id, payload.text)
        return _accepted(
            self.service.send(user_id, payload.conversation_id, payload.client_msg_id, payload.text, payload.parent_id)
        )

    def _edit(self, user_id: str, payload: protocol.MessageEdit) -> Answer:
        self._check_length(payload.text)
        self.rates.reply(user_id, payload.text)
        return _accepted(
            self.service.edit(user_id, payload.conversation_id, payload.message_id, payload.client_msg_id, payload.text)
        )

    def _stop(self, user_id: str, payload: protocol.OfReply) -> Answer:
        self.service.stop(user_id, payload.conversation_id, payload.reply_id)
        return {}

    def _regenerate(self, user_id: str, payload: protocol.OfReply) -> Answer:
        self.rates.reply(user_id)
        return {"reply_id": self.service.regenerate(user_id, payload.conversation_id, payload.reply_id).reply_id}

    def _choose(self, user_id: str, payload: protocol.OfReply) -> Answer:
        self.rates.change(user_id)
        self.service.choose(user_id, payload.conversation_id, payload.reply_id)
        return {}

    def _explain(self, user_id: str, payload: protocol.OfReply) -> Answer:
        insight = self.service.history.insight(user_id, payload.conversation_id, payload.reply_id)
        candidates = [_as_sent(candidate) for candidate in insight.candidates]
        return {"candidates": candidates, "moved": moved(insight.before, insight.after)}

    def _compare(self, user_id: str, payload: protocol.OfReply) -> Answer:
        insight = self.service.history.insight(user_id, payload.conversation_id, payload.reply_id)
        for _ in WAYS:
            self.rates.reply(user_id)
        with self.service.unstored(user_id):
            return compare(self.service.engine, request_of(insight.question))

    def _set_feedback(self, user_id: str, payload: protocol.FeedbackSet) -> Answer:
        self._check_length(payload.better_text or "")
        self.rates.change(user_id)
        self.service.set_feedback(
            user_id, payload.conversation_id, payload.reply_id, payload.rating, payload.better_text
        )
        return {}

    # Conversations

    def _create(self, user_id: str, payload: protocol.ConversationCreate) -> Answer:
        self.rates.change(user_id)
        learn = self.settings.learn if payload.learn is None else payload.learn
        return {"conversation_id": self.service.create(user_id, payload.title, learn)}

    def _list(self, user_id: str, payload: protocol.ConversationsAsked) -> Answer:
        return listed(self.service.history, [user_id], payload)

    def _search(self, user_id: str, payload: protocol.ConversationSearch) -> Answer:
        self.rates.search(user_id)
        words = payload.text.strip()
        found = self.service.history.search(user_id, words, MOST_FOUND)
        return {"found": [{"conversation_id": id, "excerpt": _excerpt(text, words)} for id, text in found]}

    def _path(self, user_id: str, payload: protocol.OfConversation) -> Answer:
        way = self.service.history.path(user_id, payload.conversation_id)
        checkpoint = self.service.engine.checkpoint
        return path_on(checkpoint.state_map, [point for point in way if point.state.checkpoint == checkpoint.id])

    def _rename(self, user_id: str, payload: protocol.ConversationRename) -> Answer:
        self.rates.change(user_id)
        self.service.rename(user_id, payload.conversation_id, payload.title)
        return {}

    def _set_learning(self, user_id: str, payload: protocol.ConversationSetLearning) -> Answer:
        self.rates.change(user_id)
        self.service.set_learning(user_id, payload.conversation_id, payload.learn)
        return {}

    def _delete(self, user_id: str, payload: protocol.OfConversation) -> Answer:
        self.service.delete(user_id, payload.conversation_id)
        return {}

    def _delete_user(self, user_id: str, payload: protocol.Nothing) -> Answer:
        self.service.delete_user(user_id)
        self.socketio.emit("dismiss_here", {"user_id": user_id}, to=WORKERS)
        return {}

    def dismiss_here(self, user_id: str) -> None:
        """Let go of the user's connections to this worker."""
        with self._lock:
            theirs = [sid for sid, user in self._users.items() if user == user_id]
        for sid in theirs:
            self.socketio.start_background_task(self._dismiss, self._line(sid))

    def _sync(self, user_id: str, payload: protocol.Sync) -> Answer:
        events, more = self.service.history.events_after(
            user_id, payload.conversation_id, payload.after_seq, payload.limit
        )
        # Read after the events: a reply that ends in between is in neither, but its end is then sent as an event.
        partial = self.service.partial(payload.conversation_id)
        return {"events": [event.payload() for event in events], "more": more, "partial": partial}

    def _unknown(self, name: str, *arguments: Any) -> Answer:
        self.metrics.count_event("unknown", "invalid", 0)  # by whatever name: of those there may be any number
        return _refusal(ProtocolError("invalid", f"There is no event {name[:50]!r} in protocol {protocol.PROTOCOL}."))

    # Verifying and answering

    def _answer(self, name: str, handle: Callable[[], Answer]) -> Answer:
        """What a client's event is acknowledged with, counted and, where a reply was asked for, logged."""
        began = time.perf_counter()
        with identified_event():
            answer = self._outcome(handle)
            if "reply_id" in answer:
                log.info("reply asked for", name=name, reply_id=answer["reply_id"])
        code = "ok" if answer["ok"] else answer["error"]["code"]
        self.metrics.count_event(name, code, time.perf_counter() - began)
        return answer

    def _outcome(self, handle: Callable[[], Answer]) -> Answer:
        """{"ok": True, ...} or {"ok": False, "error": ...}; an exception would leave the client without an answer."""
        try:
            return {"ok": True, **handle()}
        except ProtocolError as error:
            return _refusal(error)
        except (HistoryError, DrainingError) as error:
            return _refusal(ProtocolError(CODES.get(type(error), "internal"), str(error)))
        except Exception:
            log.exception("event failed")
            return _refusal(protocol.INTERNAL)

    def _user(self) -> str:
        user_id = self._users.get(request.sid)  # type: ignore[attr-defined]
        if user_id is None:
            raise ProtocolError("unauthenticated", "Connect first.")
        return user_id

    def _payload(self, model: type[Model], arguments: tuple[Any, ...]) -> Model:
        if len(arguments) > 1:
            raise ProtocolError("invalid", "An event carries one object.")
        payload = arguments[0] if arguments else {}
        self._check_size(payload)
        try:
            return model.model_validate(payload)
        except ValidationError as error:
            raise refusal_of(error) from None

    def _check_size(self, payload: Any) -> None:
        try:
            size = len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass"))
        except TypeError:
            raise ProtocolError("invalid", "An event carries JSON, not binary data.") from None
        if size > self.settings.event_bytes:
            raise ProtocolError("too_large", f"An event may have {self.settings.event_bytes} bytes; this has {size}.")

    def _check_length(self, text: str) -> None:
        most = self.settings.message_characters
        if len(text) > most:
            raise ProtocolError("too_large", f"A message may have {most} characters; this one has {len(text)}.")


def listed(history: History, users: Sequence[str], asked: protocol.ConversationsAsked) -> Answer:
    """A page of these users' conversations, and where the next one begins."""
    found, more = history.page(users, asked.limit, asked.place)
    next_ = f"{found[-1].updated_at.isoformat()} {found[-1].id}" if more else None
    return {"conversations": [conversation.summary() for conversation in found], "next": next_}


def _as_sent(candidate: dict[str, Any]) -> dict[str, Any]:
    """A candidate as it is sent; those kept before there was a chooser say less of themselves."""
    known = {name: value for name, value in candidate.items() if name != "is_retrieved"}
    source = candidate.get("source", "retrieved" if candidate.get("is_retrieved") else "decoded")
    return {"sensible": None, "specific": None} | known | {"source": source, "retrieved": source == "retrieved"}


def _accepted(accepted: Accepted) -> Answer:
    return {
        "message_id": accepted.message_id,
        "reply_id": accepted.reply_id,
        "seq": accepted.seq,
        "duplicate": accepted.duplicate,
    }


def _excerpt(text: str, words: str) -> str:
    """A line of `text` around the words, which may stand there in another case."""
    place = max(0, text.lower().find(words.lower()))
    begin, end = max(0, place - 30), place + len(words) + 90
    line = " ".join(text[begin:end].split())
    return ("…" if begin else "") + line + ("…" if end < len(text) else "")


def _refusal(error: ProtocolError) -> Answer:
    return {"ok": False, "error": error.as_dict()}
