"""The engine in a process of its own, so that those who talk with clients and the model do not share an interpreter.

`EngineProcess` is the engine as the service knows it, `main` what runs in the other process. The messages below go
between them in MessagePack, and nothing that arrives can execute. A process that dies is replaced and asked again, with
the same seeds: its replies only come later.
"""

import itertools
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import Struct, msgpack

from chatbot.reply import DecodingConfig, EngineUnavailable, Reply, ReplyRequest
from chatbot.shelf import CheckpointError
from chatbot.state_map import StateMap, read_map
from data.vocabulary import Vocabulary
from web.allocator import give_back, keep_few_heaps
from web.logs import configure_logging

if TYPE_CHECKING:  # who asks loads no torch
    from chatbot.checkpoint import Checkpoint

MOST_ASKED = 1_024  # replies that were asked for and have not ended
_TRIES = 3  # processes that may die of one reply
_AGAIN_SECONDS = 5.0  # before another try to start one that was refused
_END_SECONDS = 5.0  # for a process to end after its replies have
_BEFORE_SECONDS = 60.0
_THREADS = str(max(1, len(os.sched_getaffinity(0)) - 1))  # one processor is left for those who talk with clients

log = structlog.get_logger()


# What is said to the process, and by it


class Begin(Struct, tag=True):
    """The first of all: which checkpoint answers, and how where a request does not say."""

    checkpoint: str
    decoding: DecodingConfig | None


class Ask(Struct, tag=True):
    """`of_before`: of the checkpoint that was live before."""

    number: int
    request: ReplyRequest
    of_before: bool = False


class Stop(Struct, tag=True):
    number: int


class Close(Struct, tag=True):
    drain_seconds: float


class Refused(Struct, tag=True):
    """Instead of the first `Answering`: the checkpoint cannot answer."""

    reason: str


class Answering(Struct, tag=True):
    """From now on this checkpoint answers."""

    id: str
    folder: str
    state_width: int


class Words(Struct, tag=True):
    number: int
    text: str


class Ended(Struct, tag=True):
    """The last of a reply; None where there is none before."""

    number: int
    reply: Reply | None


class _Line:
    """One end of the line between the processes; any thread may send, one reads."""

    def __init__(self, connection: Connection, kinds: Any) -> None:
        self._connection, self._decoder = connection, msgpack.Decoder(kinds)
        self._sending = threading.Lock()

    def send(self, message: Struct) -> None:
        """What the other end no longer reads is lost: whoever reads here will see that it is gone."""
        with self._sending, suppress(OSError):
            self._connection.send_bytes(msgpack.encode(message))

    def __iter__(self) -> Iterator[Any]:
        """What the other end says, until it is gone."""
        with suppress(EOFError, OSError):
            while True:
                yield self._decoder.decode(self._connection.recv_bytes())


# The side that asks


@dataclass(frozen=True, slots=True)
class Answerer:
    """What is to be known of the checkpoint that answers."""

    id: str
    vocabulary: Vocabulary
    state_map: StateMap | None


@dataclass(slots=True, eq=False)
class _Asked:
    """A reply that has not ended."""

    ask: Ask
    on_delta: Callable[[str], None]
    on_finished: Callable[[Any], None]
    said: str = ""  # to whoever asked
    heard: str = ""  # from the process that is at work on it
    tries: int = 1
    stopped: bool = False

    def hear(self, text: str) -> None:
        """Hands on what a process before this one has not said yet."""
        self.heard += text
        if len(self.heard) > len(self.said):
            fresh, self.said = self.heard[len(self.said) :], self.heard
            self.on_delta(fresh)


@dataclass(frozen=True, slots=True)
class _Ticket:
    engine: "EngineProcess"
    number: int

    def stop(self) -> None:
        self.engine.stop(self.number)


class EngineProcess:
    """An engine for `checkpoint` (`live`: whichever is so), as `web.conversations.Engine`."""

    def __init__(self, checkpoint: str = "live", decoding: DecodingConfig | None = None) -> None:
        """Raises CheckpointError where the checkpoint cannot answer."""
        self._begin = Begin(checkpoint, decoding)
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # guards the next two
        self._asked: dict[int, _Asked] = {}
        self._closing = False
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, name="engine-line", daemon=True)
        self._open()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def start(self) -> None:
        self._reader.start()

    def close(self, drain_seconds: float = 0.0) -> None:
        """As ChatEngine.close."""
        with self._lock:
            self._closing = True
        self._closed.set()
        self._line.send(Close(drain_seconds))
        try:
            self._process.wait(drain_seconds + _END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join()

    def submit(
        self, request: ReplyRequest, on_delta: Callable[[str], None], on_finished: Callable[[Reply], None]
    ) -> _Ticket:
        """As ChatEngine.submit, on the thread that reads what the process says."""
        if request.seed is None:
            request = replace(request, seed=secrets.randbits(63))
        return self._ask(_Asked(Ask(next(self._numbers), request), on_delta, on_finished))

    def before(self, request: ReplyRequest) -> Reply | None:
        """What the checkpoint says that was live before this one, if there is one. Raises EngineUnavailable."""
        said: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        asked = _Asked(Ask(next(self._numbers), request, of_before=True), lambda text: None, said.put)
        self._ask(asked)
        with suppress(queue.Empty):
            return said.get(timeout=_BEFORE_SECONDS)
        return None

    def stop(self, number: int) -> None:
        with self._lock:
            if asked := self._asked.get(number):
                asked.stopped = True
        self._line.send(Stop(number))

    def _ask(self, asked: _Asked) -> _Ticket:
        with self._lock:
            if self._closing or not self._reader.is_alive():
                raise EngineUnavailable("The engine is not running.")
            if len(self._asked) >= MOST_ASKED:
                raise EngineUnavailable("Too many replies are waiting; try again in a moment.")
            self._asked[asked.ask.number] = asked
            self._line.send(asked.ask)
        return _Ticket(self, asked.ask.number)

    def _open(self) -> None:
        """Starts a process, and waits until it answers or refuses."""
        here, there = Pipe()
        command = [sys.executable, "-P", "-m", "web.engine_process", str(there.fileno())]
        self._process = subprocess.Popen(
            command,
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": _THREADS} | os.environ,
        )
        there.close()
        self._line = _Line(here, Refused | Answering | Words | Ended)
        self._line.send(self._begin)
        self._said = iter(self._line)
        first = next(self._said, None)
        if not isinstance(first, Answering):
            raise CheckpointError(first.reason if first else "The engine ended before it could answer.")
        self.checkpoint = _answerer(first)

    # All below runs on the thread that reads.

    def _read(self) -> None:
        while True:
            for message in self._said:
                self._take(message)
            if self._closed.is_set():
                break
            log.error("engine ended, another one is started", code=self._process.wait())
            self._replace()
        with self._lock:
            self._closing, left, self._asked = True, list(self._asked.values()), {}
        for asked in left:
            self._fail(asked)

    def _take(self, message: Any) -> None:
        if isinstance(message, Answering):
            try:
                self.checkpoint = _answerer(message)
            except (OSError, ValueError) as error:  # it answers all the same
                log.error("checkpoint not read", checkpoint=message.id, reason=str(error))
            return
        with self._lock:
            asked = self._asked.get(message.number)
            if asked and isinstance(message, Ended):
                del self._asked[message.number]
        if asked and isinstance(message, Ended):
            _call(asked.on_finished, message.reply)
        elif asked:
            _call(asked.hear, message.text)

    def _replace(self) -> None:
        """Another process, that is asked for all that the one before has left undone."""
        while not self._closed.is_set():
            try:
                self._open()
                break
            except (CheckpointError, OSError, ValueError) as error:
                log.error("engine not started", reason=str(error))
                self._closed.wait(_AGAIN_SECONDS)
        with self._lock:
            worn = [asked for asked in self._asked.values() if asked.tries >= _TRIES]
            for asked in worn:
                del self._asked[asked.ask.number]
            for asked in self._asked.values():
                asked.tries, asked.heard = asked.tries + 1, ""
                self._line.send(asked.ask)
                if asked.stopped:
                    self._line.send(Stop(asked.ask.number))
        for asked in worn:
            self._fail(asked)

    def _fail(self, asked: _Asked) -> None:
        _call(asked.on_finished, None if asked.ask.of_before else Reply(asked.said, "failed", self.checkpoint.id))


def _answerer(said: Answering) -> Answerer:
    folder = Path(said.folder)
    return Answerer(said.id, Vocabulary.load(folder / "vocabulary.json"), read_map(folder, said.state_width))


def _call(callback: Callable[[Any], None], argument: Any) -> None:
    """Whatever a caller's code raises, the next message is read."""
    try:
        callback(argument)
    except Exception:
        log.exception("a callback of a reply raised")


# The process


class _Served:
    """The engine at the other end of a line."""

    def __init__(self, line: _Line, begin: Begin) -> None:
        """Raises CheckpointError."""
        from chatbot.checkpoint import load_checkpoint
        from chatbot.decoding import DEFAULT
        from chatbot.engine import ChatEngine
        from chatbot.live import LiveEngine

        self._line, self._lock = line, threading.Lock()
        self._tickets: dict[int, Any] = {}
        self._engine: LiveEngine | ChatEngine
        if begin.checkpoint == "live":
            self._engine = LiveEngine(self._tell)
        else:
            self._engine = ChatEngine(load_checkpoint(begin.checkpoint), begin.decoding or DEFAULT)
        self._engine.start()
        self._tell(self._engine.checkpoint)

    def take(self, message: Any) -> None:
        if isinstance(message, Ask):
            if message.of_before:
                threading.Thread(target=self._ask_before, args=(message,), daemon=True).start()
            else:
                self._ask(message)
        elif isinstance(message, Stop):
            with self._lock:
                ticket = self._tickets.get(message.number)
            if ticket:
                ticket.stop()
        elif isinstance(message, Close):
            threading.Thread(target=self._close, args=(message.drain_seconds,), daemon=True).start()

    def _tell(self, checkpoint: "Checkpoint") -> None:
        self._line.send(Answering(checkpoint.id, str(checkpoint.folder), checkpoint.model.state_width))

    def _ask(self, message: Ask) -> None:
        number = message.number
        try:
            with self._lock:  # its ticket is there before it may end
                self._tickets[number] = self._engine.submit(
                    message.request,
                    lambda text: self._line.send(Words(number, text)),
                    lambda reply: self._end(number, reply),
                )
        except EngineUnavailable:
            self._end(number, Reply("", "failed", self._engine.checkpoint.id))

    def _end(self, number: int, reply: Reply) -> None:
        with self._lock:
            self._tickets.pop(number, None)
        self._line.send(Ended(number, reply))

    def _ask_before(self, message: Ask) -> None:
        from chatbot.live import reply_of_before

        reply = None
        try:
            reply = reply_of_before(self._engine.checkpoint.id, message.request)
        finally:
            self._line.send(Ended(message.number, reply))

    def _close(self, drain_seconds: float) -> None:
        self._engine.close(drain_seconds)
        os._exit(0)  # all is said; taking a model to pieces would only hold this up


def main() -> None:
    """Answers until it is told to close, or whoever asks is gone."""
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, signal.SIG_IGN)  # Ctrl-C reaches it as well; replies are to end first
    configure_logging()
    keep_few_heaps()
    line = _Line(Connection(int(sys.argv[1])), Begin | Ask | Stop | Close)
    said = iter(line)
    try:
        served = _Served(line, next(said))
    except CheckpointError as error:
        return line.send(Refused(str(error)))
    give_back()
    for message in said:
        served.take(message)
    os._exit(0)


if __name__ == "__main__":
    main()
