"""The engine in a process of its own, so that those who talk with clients and the model do not share an interpreter.

`EngineProcess` is the engine as the service knows it, `main` what runs in the other process. The messages below go
between them in MessagePack, and nothing that arrives can execute. A process that dies is replaced and asked again, with
the same seeds: its replies come later, and as they would have come, but for a last digit that chose another word.
"""

import itertools
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import MsgspecError, Struct, msgpack

from chatbot.persona import PERSONA, Persona
from chatbot.reply import DEFAULT, DecodingConfig, EngineUnavailable, Reply, ReplyRequest
from chatbot.shelf import CheckpointError
from chatbot.state_map import StateMap, read_map
from data.vocabulary import Vocabulary
from web.allocator import give_back, keep_few_heaps
from web.logs import configure_logging

if TYPE_CHECKING:  # who asks loads no torch
    from chatbot.checkpoint import Checkpoint

MOST_ASKED = 1_024  # replies that were asked for and have not ended
_DEATHS = 3  # of processes that were at work on a reply, after which it fails
_SUSPECT = 2  # after so many it is asked for alone
_OPEN_SECONDS = 120.0  # to load
_AGAIN_SECONDS = 5.0  # before another try to start one that was refused
_END_SECONDS = 3.0  # for a process to end after its replies have
_BEFORE_SECONDS = 60.0
_THREADS = str(max(1, len(os.sched_getaffinity(0)) - 1))  # one processor is left for those who talk with clients

log = structlog.get_logger()


# What is said to the process, and by it


class Begin(Struct, tag=True):
    """The first of all: which checkpoint answers, how where a request does not say, and who speaks."""

    checkpoint: str
    decoding: DecodingConfig | None
    persona: Persona = PERSONA


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
    """One end of the line between the processes: whoever says something waits for nobody."""

    def __init__(self, connection: Connection, kinds: Any) -> None:
        self._connection, self._decoder = connection, msgpack.Decoder(kinds)
        self._unsent: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send, name="engine-line-out", daemon=True)
        self._sender.start()

    def say(self, message: Struct) -> None:
        self._unsent.put(msgpack.encode(message))

    def hear(self, seconds: float | None = None) -> Any:
        """The next message. Raises EOFError where the other end is gone, or silent for as long."""
        if seconds is not None and not self._connection.poll(seconds):
            raise EOFError
        return self._decoder.decode(self._connection.recv_bytes())

    def close(self) -> None:
        """Once all is said; nobody may hear any more."""
        self._unsent.put(b"")
        self._sender.join()
        self._connection.close()

    def _send(self) -> None:
        """What the other end no longer reads is lost: whoever hears it will notice that it is gone."""
        with suppress(OSError):
            while frame := self._unsent.get():
                self._connection.send_bytes(frame)


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
    is_at_work: bool = False
    deaths: int = 0  # of processes that were
    stopped: bool = False

    def hear(self, text: str) -> None:
        """Hands on what a process before this one has not said yet."""
        self.heard += text
        if len(self.heard) > len(self.said) and self.heard.startswith(self.said):
            fresh, self.said = self.heard[len(self.said) :], self.heard
            self.on_delta(fresh)


@dataclass(frozen=True, slots=True)
class _Ticket:
    engine: "EngineProcess"
    number: int

    def stop(self) -> None:
        self.engine.stop(self.number)


@dataclass(frozen=True, slots=True)
class _Child:
    """A process that answers."""

    process: subprocess.Popen[bytes]
    line: _Line

    @classmethod
    def open(cls, begin: Begin) -> tuple["_Child", Answerer]:
        """Raises CheckpointError where it cannot answer."""
        here, there = Pipe()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "web.engine_process", str(there.fileno())],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,  # a terminal's signals are for whoever asks
            env={"OMP_NUM_THREADS": _THREADS} | os.environ,
        )
        there.close()
        child = cls(process, _Line(here, Refused | Answering | Words | Ended))
        child.line.say(begin)
        try:
            return child, _answerer(child.line.hear(_OPEN_SECONDS))
        except (EOFError, OSError, MsgspecError) as error:
            child.end()
            raise CheckpointError("The engine ended, or said nothing, before it could answer.") from error
        except CheckpointError:
            child.end()
            raise

    def end(self) -> int:
        """Kills it, if it has not ended -> how it did."""
        self.process.kill()
        self.line.close()
        return self.process.wait()


class EngineProcess:
    """An engine for `checkpoint` (`live`: whichever is so), as `web.conversations.Engine`.

    What `close` leaves undone never ends here: it is for another worker, or for the next start.
    """

    def __init__(
        self, checkpoint: str = "live", decoding: DecodingConfig | None = None, persona: Persona = PERSONA
    ) -> None:
        """`decoding` is for a checkpoint that is named, and for requests that bring none; `persona` is ChatEngine's.

        Raises CheckpointError where the checkpoint cannot answer.
        """
        self._begin = Begin(checkpoint, decoding, persona)
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # guards the next three
        self._asked: dict[int, _Asked] = {}
        self._deadline: float | None = None  # of what is asked, once closing
        self._child, self.checkpoint = _Child.open(self._begin)
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._run, name="engine-line", daemon=True)

    @property
    def is_running(self) -> bool:
        return self._reader.is_alive() and self._child.process.poll() is None

    def start(self) -> None:
        self._reader.start()

    def close(self, drain_seconds: float = 0.0) -> None:
        """As ChatEngine.close."""
        with self._lock:
            self._deadline = time.monotonic() + drain_seconds
            self._child.line.say(Close(drain_seconds))
        self._closing.set()
        if self._reader.is_alive():
            self._reader.join(min(drain_seconds + _END_SECONDS, threading.TIMEOUT_MAX))
        self._child.process.kill()  # where it hangs
        self._child.process.wait()

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
                self._child.line.say(Stop(number))

    def _ask(self, asked: _Asked) -> _Ticket:
        with self._lock:
            if self._deadline is not None or not self._reader.is_alive():
                raise EngineUnavailable("The engine is not running.")
            if len(self._asked) >= MOST_ASKED:
                raise EngineUnavailable("Too many replies are waiting; try again in a moment.")
            self._set_to_work(asked)
            self._asked[asked.ask.number] = asked
        return _Ticket(self, asked.ask.number)

    def _set_to_work(self, asked: _Asked) -> None:
        self._child.line.say(asked.ask)
        if asked.stopped:
            self._child.line.say(Stop(asked.ask.number))
        asked.is_at_work, asked.heard = True, ""

    # All below runs on the thread that reads.

    def _run(self) -> None:
        while True:
            with suppress(EOFError, OSError, MsgspecError):
                while True:
                    self._take(self._child.line.hear())
            code = self._child.end()
            with self._lock:
                is_over = self._deadline is not None and (not self._asked or time.monotonic() >= self._deadline)
            if is_over:
                return
            log.error("engine ended, another one is started", code=code)
            self._bury()
            if not self._replace():
                return

    def _take(self, message: Any) -> None:
        if isinstance(message, Answering):
            try:
                self.checkpoint = _answerer(message)
            except (OSError, ValueError) as error:  # it answers all the same
                log.error("checkpoint not read", checkpoint=message.id, reason=str(error))
            return
        has_ended = isinstance(message, Ended)
        with self._lock:
            asked = self._asked.pop(message.number, None) if has_ended else self._asked.get(message.number)
            if asked and has_ended and asked.deaths >= _SUSPECT:
                self._go_on()
        if asked and has_ended:
            _call(asked.on_finished, message.reply)
        elif asked:
            _call(asked.hear, message.text)

    def _bury(self) -> None:
        """Ends what the process that has died is not to be mourned for: what several have died of, and what loads a
        further model and was promised to nobody."""
        with self._lock:
            for asked in self._asked.values():
                asked.deaths += asked.is_at_work
                asked.is_at_work = False
            lost = [asked for asked in self._asked.values() if asked.deaths >= _DEATHS or asked.ask.of_before]
            for asked in lost:
                del self._asked[asked.ask.number]
        for asked in lost:
            reply = None if asked.ask.of_before else Reply(asked.said, "failed", self.checkpoint.id)
            _call(asked.on_finished, reply)

    def _replace(self) -> bool:
        """Another process, at work on what was left undone; False where the time for it is over."""
        while self._deadline is None or time.monotonic() < self._deadline:
            try:
                child, checkpoint = _Child.open(self._begin)
            except (CheckpointError, OSError) as error:
                log.error("engine not started", reason=str(error))
                self._closing.wait(_AGAIN_SECONDS)
                continue
            with self._lock:
                self._child, self.checkpoint = child, checkpoint
                for asked in self._asked.values():  # also what was asked of nobody meanwhile
                    asked.is_at_work = False
                self._go_on()
                if self._deadline is not None:
                    child.line.say(Close(max(0.0, self._deadline - time.monotonic())))
            return True
        return False

    def _go_on(self) -> None:
        """Sets the process to work on what nobody is at work on. The caller holds the lock.

        What several have died over comes one by one, so that the deadly one is told from those beside it.
        """
        suspects = [asked for asked in self._asked.values() if asked.deaths >= _SUSPECT]
        for asked in self._asked.values():
            if not asked.is_at_work and (asked.deaths < _SUSPECT or asked is suspects[0]):
                self._set_to_work(asked)


def _answerer(said: Refused | Answering) -> Answerer:
    """Raises CheckpointError where it was refused."""
    if isinstance(said, Refused):
        raise CheckpointError(said.reason)
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
        from chatbot.engine import ChatEngine
        from chatbot.live import LiveEngine

        self._persona = begin.persona
        self._line, self._lock = line, threading.Lock()
        self._tickets: dict[int, Any] = {}
        self._engine: LiveEngine | ChatEngine
        if begin.checkpoint == "live":
            self._engine = LiveEngine(self._tell, self._persona)
        else:
            decoding = begin.decoding or DEFAULT
            self._engine = ChatEngine(load_checkpoint(begin.checkpoint), decoding, persona=self._persona)
        self._tell(self._engine.checkpoint)
        self._engine.start()

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
        self._line.say(Answering(checkpoint.id, str(checkpoint.folder), checkpoint.model.state_width))

    def _ask(self, message: Ask) -> None:
        number = message.number
        try:
            with self._lock:  # its ticket is there before it may end
                self._tickets[number] = self._engine.submit(
                    message.request,
                    lambda text: self._line.say(Words(number, text)),
                    lambda reply: self._end(number, reply),
                )
        except EngineUnavailable:
            if not self._engine.is_running:
                os._exit(1)  # whoever asks starts another process
            self._end(number, Reply("", "failed", self._engine.checkpoint.id))

    def _end(self, number: int, reply: Reply) -> None:
        with self._lock:
            self._tickets.pop(number, None)
        self._line.say(Ended(number, reply))

    def _ask_before(self, message: Ask) -> None:
        from chatbot.live import reply_of_before

        reply = None
        try:
            reply = reply_of_before(self._engine.checkpoint.id, message.request, self._persona)
        finally:
            self._line.say(Ended(message.number, reply))

    def _close(self, drain_seconds: float) -> None:
        self._engine.close(drain_seconds)
        self._line.close()
        os._exit(0)  # taking a model to pieces would only hold this up


def main() -> None:
    """Answers until it is told to close, or whoever asks is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # replies are to end first
    configure_logging()
    keep_few_heaps()
    line = _Line(Connection(int(sys.argv[1])), Begin | Ask | Stop | Close)
    with suppress(EOFError, OSError):
        begin = line.hear()
        try:
            served = _Served(line, begin)
        except (CheckpointError, OSError) as error:
            line.say(Refused(str(error)))
            return line.close()
        give_back()
        while True:
            served.take(line.hear())
    os._exit(0)


if __name__ == "__main__":
    main()
