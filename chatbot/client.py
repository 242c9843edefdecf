"""A client of the websocket API for Python programs: this file and `python-socketio[client]` are all it needs.

    with ChatClient("http://localhost:8000") as chat:
        conversation = chat.create()
        for words in chat.stream(conversation, "How was your day?"):
            print(words, end="")

A lost connection is made again by itself, and what was not acknowledged is sent again under the same client_msg_id: a
message is neither lost nor said twice. Keep `token` to be the same user the next time.
"""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Self

import socketio

PAGE = 200  # events of one sync
QUIET_SECONDS = 2.0  # without a word of a reply, after which its state is asked for
_NOT_TWICE = ("conversation.create", "reply.regenerate")  # whose acknowledgement, once lost, cannot be asked for again
_LATER = ("draining", "overloaded", "rate_limited")
_PAUSE = 0.5  # seconds, where the server does not say how long


class ChatError(Exception):
    """The server refused (`code` is one of the protocol's), or could not be reached in time (`offline`)."""

    def __init__(self, code: str, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_ms = code, message, retry_after_ms


@dataclass(frozen=True, slots=True)
class Conversation:
    """One of the user's; the times are ISO 8601, `learn` whether the bot may be trained on it."""

    conversation_id: str
    title: str | None
    created_at: str
    updated_at: str
    last_seq: int
    learn: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """`status` is completed, stopped or failed; `retrieved` marks words that somebody said elsewhere, `guarded` says to
    what kind of utterance a fixed answer was given, as "suicide"."""

    reply_id: str
    text: str
    status: str
    checkpoint: str | None
    retrieved: bool
    guarded: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation in which some words were said, and a line around them."""

    conversation_id: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a reply was chosen among: log p(y|s) and log p(y) in nats, and the score that they and the rest make."""

    text: str
    score: float
    log_probability: float
    log_prior: float
    relevance: float
    repetition: float
    retrieved: bool
    sensible: float | None = None
    specific: float | None = None
    source: str = "decoded"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The candidates, the best first, none where there was no choice; how far the reply moved the dialogue state."""

    candidates: list[Candidate]
    moved: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """A turn on the checkpoint's map: x from the left, y from the top, from 0 to 1 for nearly all."""

    turn_id: str
    speaker: str
    x: float
    y: float
    moved: float | None


@dataclass(frozen=True, slots=True)
class Path:
    """The turns of the active branch; `density`, the top row first, is None where the checkpoint has no map."""

    points: list[Point]
    density: list[list[float]] | None


@dataclass(frozen=True, slots=True)
class Word:
    """A word that the beam search followed, its probability after those before it, and what it followed from there."""

    word: str
    probability: float
    children: list["Word"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is said by each way of decoding (greedy, beam, sample, chosen), and the beams as a tree of words.

    Under `before`, what the checkpoint says that was live before, if one was.
    """

    variants: dict[str, str]
    tree: Word


class Stream:
    """The words of a reply as they come; `reply` once all have come. `message_id` is what it replies to, if known.

    Words that were given are not taken back: after a server's death its successor may find others. `reply` counts.
    """

    def __init__(self, words: Iterator[str | Reply], reply_id: str, message_id: str | None = None) -> None:
        self.reply_id, self.message_id = reply_id, message_id
        self.reply: Reply | None = None
        self._words = words

    def __iter__(self) -> Iterator[str]:
        for piece in self._words:
            if isinstance(piece, Reply):
                self.reply = piece
            elif piece:
                yield piece

    def wait(self) -> Reply:
        """Raises ChatError."""
        for _ in self:
            pass
        assert self.reply is not None
        return self.reply


class ChatClient:
    """One user's connection. Safe to share between threads; every method raises ChatError."""

    def __init__(self, url: str, token: str | None = None, key: str | None = None, timeout: float = 60.0) -> None:
        """Without a `token` the server makes a new user. `timeout` is how long a request waits, lost lines included."""
        self.token = token
        self._url, self._key, self._timeout = url, key, timeout
        self._ready = threading.Event()
        self._refused: ChatError | None = None
        self._lock = threading.Lock()
        self._asked: set[queue.SimpleQueue[Any]] = set()  # what waits for an acknowledgement
        self._following: dict[queue.SimpleQueue[Any], str] = {}
        self._listeners: dict[str, list[Callable[[dict[str, Any]], None]]] = {}
        self._socket = socketio.Client(reconnection_delay=0.2, reconnection_delay_max=2, handle_sigint=False)
        self._socket.on("ready", self._admitted)
        self._socket.on("disconnect", self._lost)
        self._socket.on("connect_error", self._not_admitted)
        self._socket.on("event", lambda event: self._tell("event", event))
        self._socket.on("reply.delta", lambda delta: self._tell("reply.delta", delta))
        self._socket.on("notice", lambda notice: self._call("notice", notice))

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def connect(self) -> None:
        try:
            self._socket.connect(self._url, auth=self._introduction, transports=["websocket"], wait_timeout=10)
        except socketio.exceptions.ConnectionError as error:
            raise self._refused or ChatError("offline", f"{self._url} cannot be reached.") from error
        if not self._ready.wait(self._timeout):
            raise ChatError("offline", f"{self._url} did not say that it is ready.")

    def close(self) -> None:
        self._socket.shutdown()

    def on(self, name: str, listener: Callable[[dict[str, Any]], None]) -> None:
        """Call it with what each `ready`, `event`, `reply.delta` or `notice` carries, those of the user's other
        connections too, on a thread of the connection, which waits for it. After each `ready`, `sync` brings what was
        missed."""
        self._listeners.setdefault(name, []).append(listener)

    # Conversations

    def create(self, title: str | None = None, learn: bool | None = None) -> str:
        """-> the new conversation's id; `learn` None leaves it to the server's operator."""
        return str(self.request("conversation.create", title=title, learn=learn)["conversation_id"])

    def conversations(self) -> list[Conversation]:
        """Newest first."""
        found = [page := self.request("conversation.list")]
        while page["next"]:
            found.append(page := self.request("conversation.list", after=page["next"]))
        return [_made(Conversation, conversation) for page in found for conversation in page["conversations"]]

    def rename(self, conversation_id: str, title: str) -> None:
        self.request("conversation.rename", conversation_id=conversation_id, title=title)

    def set_learning(self, conversation_id: str, learn: bool) -> None:
        self.request("conversation.set_learning", conversation_id=conversation_id, learn=learn)

    def delete(self, conversation_id: str) -> None:
        self.request("conversation.delete", conversation_id=conversation_id)

    def delete_user(self) -> None:
        """Erase all that is this user's, and the user."""
        self.request("user.delete")

    def search(self, text: str) -> list[Found]:
        """The conversations, the latest first, in which these words were said, in whatever case and branch."""
        return [_made(Found, found) for found in self.request("conversation.search", text=text)["found"]]

    def path(self, conversation_id: str) -> Path:
        """Where the dialogue's state went."""
        path = self.request("conversation.path", conversation_id=conversation_id)
        return Path([_made(Point, point) for point in path["points"]], path["map"] and path["map"]["density"])

    def sync(self, conversation_id: str, after_seq: int = 0) -> list[dict[str, Any]]:
        """Every durable event of the conversation after `after_seq`, in order."""
        events: list[dict[str, Any]] = []
        more = True
        while more:
            after = events[-1]["seq"] if events else after_seq
            page = self.request("sync", conversation_id=conversation_id, after_seq=after, limit=PAGE)
            events += page["events"]
            more = page["more"]
        return events

    # Messages and replies

    def send(
        self, conversation_id: str, text: str, client_msg_id: str | None = None, parent_id: str | None = None
    ) -> Reply:
        """Say something and wait for the whole reply."""
        return self.stream(conversation_id, text, client_msg_id, parent_id).wait()

    def stream(
        self, conversation_id: str, text: str, client_msg_id: str | None = None, parent_id: str | None = None
    ) -> Stream:
        """Say something; it is stored when this returns. The same `client_msg_id` again says nothing twice.

        `parent_id` is the reply after which it is said, where that is not the last one: a branch of its own.
        """
        return self._say("message.send", conversation_id, text, client_msg_id, parent_id=parent_id)

    def edit(self, conversation_id: str, message_id: str, text: str, client_msg_id: str | None = None) -> Stream:
        """Say something else instead of an earlier message, in a branch of its own."""
        return self._say("message.edit", conversation_id, text, client_msg_id, message_id=message_id)

    def _say(self, name: str, conversation_id: str, text: str, client_msg_id: str | None, **more: Any) -> Stream:
        said = {"client_msg_id": client_msg_id or str(uuid.uuid4()), "text": text}
        accepted = self.request(name, conversation_id=conversation_id, **said, **more)
        words = self._words(conversation_id, accepted["reply_id"], accepted["seq"])
        return Stream(words, accepted["reply_id"], accepted["message_id"])

    def regenerate(self, conversation_id: str, reply_id: str) -> Stream:
        """Another reply to the same message."""
        begun = self.request("reply.regenerate", conversation_id=conversation_id, reply_id=reply_id)
        return self.resume(conversation_id, begun["reply_id"])

    def resume(self, conversation_id: str, reply_id: str, after_seq: int = 0) -> Stream:
        """A reply that was begun before, by this program or by one that ended: all of its words, and those to come."""
        return Stream(self._words(conversation_id, reply_id, after_seq), reply_id)

    def stop(self, conversation_id: str, reply_id: str) -> None:
        self.request("reply.stop", conversation_id=conversation_id, reply_id=reply_id)

    def choose(self, conversation_id: str, reply_id: str) -> None:
        """Go on from this reply: its branch is the active one, as when one steps back to an earlier version."""
        self.request("reply.choose", conversation_id=conversation_id, reply_id=reply_id)

    def explain(self, conversation_id: str, reply_id: str) -> Explanation:
        """What the reply was chosen among."""
        found = self.request("reply.explain", conversation_id=conversation_id, reply_id=reply_id)
        return Explanation([_made(Candidate, candidate) for candidate in found["candidates"]], found["moved"])

    def compare(self, conversation_id: str, reply_id: str) -> Comparison:
        """Decode the reply's turn anew, in four ways; it is stored nowhere and counts as four messages."""
        found = self.request("reply.compare", conversation_id=conversation_id, reply_id=reply_id)
        return Comparison({one["name"]: one["text"] for one in found["variants"]}, _tree(found["tree"]))

    def set_feedback(self, conversation_id: str, reply_id: str, rating: int, better_text: str | None = None) -> None:
        """`rating` -1, 0 or 1; rating 0 without a better text takes it back."""
        opinion = {"rating": rating, "better_text": better_text}
        self.request("feedback.set", conversation_id=conversation_id, reply_id=reply_id, **opinion)

    # Requests

    def request(self, name: str, **payload: Any) -> dict[str, Any]:
        """Send an event of the protocol -> its acknowledgement; again after a lost line or when told to wait."""
        deadline = time.monotonic() + self._timeout
        while True:
            answer = self._acknowledged(name, payload, deadline)
            if answer is not None and answer["ok"]:
                return answer
            if answer is None and name in _NOT_TWICE:
                raise ChatError("offline", "The connection was lost before the server had answered.")
            if answer is not None:
                self._wait_or_raise(ChatError(**answer["error"]), deadline)

    def _acknowledged(self, name: str, payload: dict[str, Any], deadline: float) -> dict[str, Any] | None:
        """None where the line was lost meanwhile."""
        if not self._ready.wait(max(0.0, deadline - time.monotonic())):
            raise self._refused or ChatError("offline", f"{self._url} cannot be reached.")
        answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with self._lock:
            self._asked.add(answers)
        try:
            if not self._ready.is_set():  # lost since, and nobody will tell these answers
                return None
            self._socket.emit(name, payload, callback=answers.put)
            return answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except socketio.exceptions.BadNamespaceError:  # lost between the two
            return None
        except queue.Empty:
            raise ChatError("offline", "The server did not answer in time.") from None
        finally:
            with self._lock:
                self._asked.discard(answers)

    def _wait_or_raise(self, refusal: ChatError, deadline: float) -> None:
        pause = (refusal.retry_after_ms or 1000 * _PAUSE) / 1000
        if refusal.code not in _LATER or time.monotonic() + pause > deadline:
            raise refusal
        time.sleep(pause)

    # Following a reply

    def _words(self, conversation_id: str, reply_id: str, after_seq: int) -> Iterator[str | Reply]:
        text, ended = _Text(), None
        with self._follow(conversation_id) as coming:
            while ended is None:
                news = _next(coming)
                if news is None:  # asked at first, after each new connection and after a silence
                    ended, partial = self._state_of(conversation_id, reply_id, after_seq)
                    if partial:
                        text.current, text.next_index = partial["text"], partial["next_index"]
                elif news.get("reply_id") == reply_id:
                    text.add(news["index"], news["text"])
                else:
                    ended = _ending(news, reply_id)
                if ended:
                    text.current = ended.text
                yield text.new_words()
            yield ended

    @contextmanager
    def _follow(self, conversation_id: str) -> Iterator[queue.SimpleQueue[Any]]:
        coming: queue.SimpleQueue[Any] = queue.SimpleQueue()
        coming.put(None)
        with self._lock:
            self._following[coming] = conversation_id
        try:
            yield coming
        finally:
            with self._lock:
                del self._following[coming]

    def _state_of(
        self, conversation_id: str, reply_id: str, after_seq: int
    ) -> tuple[Reply | None, dict[str, Any] | None]:
        """How the reply ended, or the text of it so far."""
        while True:
            page = self.request("sync", conversation_id=conversation_id, after_seq=after_seq, limit=PAGE)
            ended = next((end for event in page["events"] if (end := _ending(event, reply_id))), None)
            if ended or not page["more"]:
                partial = [part for part in page["partial"] if part["reply_id"] == reply_id]
                return ended, partial[0] if partial else None
            after_seq = page["events"][-1]["seq"]

    def _tell(self, name: str, news: dict[str, Any]) -> None:
        with self._lock:
            for coming, followed in self._following.items():
                if followed == news["conversation_id"]:
                    coming.put(news)
        self._call(name, news)

    def _call(self, name: str, news: dict[str, Any]) -> None:
        for listener in list(self._listeners.get(name, ())):
            listener(news)

    # The connection; on python-socketio's threads

    def _introduction(self) -> dict[str, Any]:
        given = {"token": self.token, "key": self._key}
        return {"protocol": 1} | {name: value for name, value in given.items() if value}

    def _admitted(self, ready: dict[str, Any]) -> None:
        self.token = ready.get("token", self.token)
        self._refused = None
        self._ready.set()
        with self._lock:
            for coming in self._following:
                coming.put(None)
        self._call("ready", ready)

    def _not_admitted(self, error: Any) -> None:
        if isinstance(error, dict) and isinstance(error.get("data"), dict):
            self._refused = ChatError(**error["data"])

    def _lost(self, reason: str) -> None:
        self._ready.clear()
        with self._lock:
            for answers in self._asked:
                answers.put(None)


class _Text:
    """A reply's text as it comes. Deltas may come out of order; with index 0 again they all come anew."""

    def __init__(self) -> None:
        self.current = ""
        self.next_index = 0
        self._given = ""
        self._held: dict[int, str] = {}

    def add(self, index: int, text: str) -> None:
        if index == 0 and self.next_index:
            self.current, self.next_index = "", 0
            self._held.clear()
        self._held[index] = text
        while self.next_index in self._held:
            self.current += self._held.pop(self.next_index)
            self.next_index += 1

    def new_words(self) -> str:
        """What was not given before; nothing while other words than those come."""
        if not self.current.startswith(self._given):
            return ""
        words = self.current[len(self._given) :]
        self._given = self.current
        return words


def _next(coming: queue.SimpleQueue[Any]) -> dict[str, Any] | None:
    try:
        news: dict[str, Any] | None = coming.get(timeout=QUIET_SECONDS)
        return news
    except queue.Empty:
        return None


def _ending(event: dict[str, Any], reply_id: str) -> Reply | None:
    if event.get("type") != "reply.completed" or event["data"]["reply_id"] != reply_id:
        return None
    return _made(Reply, event["data"])


def _made(kind: Any, data: dict[str, Any]) -> Any:
    """A dataclass from those of the fields that it knows: a later server may send more, an earlier one less."""
    return kind(**{field.name: data[field.name] for field in fields(kind) if field.name in data})


def _tree(word: dict[str, Any]) -> Word:
    return Word(word["word"], word["probability"], [_tree(child) for child in word["children"]])
