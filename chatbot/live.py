"""An engine that answers with whatever checkpoint is live, and takes the next one without dropping a reply.

It looks at the `live` link about once a second; so every process of a server finds a promotion or a rollback by itself,
and an index of responses that is made while it answers.
New replies start on the new checkpoint, those under way end on the old one, and only then does the old one go.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.engine import ChatEngine, ReplyTicket
from chatbot.persona import PERSONA, Persona
from chatbot.reply import Reply, ReplyRequest
from chatbot.retrieval import index_stamp
from chatbot.shelf import CheckpointError, before_live, live_id, live_pointer

LOOK_SECONDS = 1.0
_BEFORE_SECONDS = 30.0
_loading = threading.Lock()  # one further model in memory at a time

log = structlog.get_logger()


class LiveEngine:
    """A ChatEngine for `live`, replaced by another one whenever another checkpoint is made live."""

    def __init__(
        self, on_change: Callable[[Checkpoint], None] = lambda checkpoint: None, persona: Persona = PERSONA
    ) -> None:
        """`on_change` is told of each further checkpoint before it gets its first request; it must be quick. `persona`
        is that of every engine.

        Raises CheckpointError where the checkpoint that is live now cannot answer.
        """
        self._on_change, self._persona = on_change, persona
        self._pointer = live_pointer()  # before loading: what is promoted meanwhile is seen at the first look
        checkpoint = load_checkpoint("live")
        self._index = index_stamp(checkpoint)  # before loading as well
        self._engine = ChatEngine(checkpoint, persona=persona)
        self._ending: ChatEngine | None = None  # the one before, until its replies have ended
        self._changing = threading.Lock()  # no reply is given to an engine that has just been told to end
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch-live", daemon=True)

    @property
    def checkpoint(self) -> Checkpoint:
        """What answers now."""
        return self._engine.checkpoint

    @property
    def is_running(self) -> bool:
        """Whether somebody is there to answer."""
        return self._engine.is_running

    def start(self) -> None:
        self._engine.start()
        self._watcher.start()

    def close(self, drain_seconds: float = 0.0) -> None:
        """As ChatEngine.close, for the replies on either checkpoint."""
        deadline = time.monotonic() + drain_seconds
        with self._changing:
            self._closed.set()
            engines = [engine for engine in (self._ending, self._engine) if engine]
        for engine in engines:
            engine.close(max(0.0, deadline - time.monotonic()))

    def submit(
        self, request: ReplyRequest, on_delta: Callable[[str], None], on_finished: Callable[[Reply], None]
    ) -> ReplyTicket:
        """As ChatEngine.submit; the reply says which checkpoint made it. Raises EngineUnavailable."""
        with self._changing:
            return self._engine.submit(request, on_delta, on_finished)

    # All below runs on the watcher's thread.

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with suppress(OSError):  # the disk may be away for a moment
                pointer = live_pointer()
                if pointer != self._pointer:
                    self._pointer = pointer  # refused or not: it is looked at again when it points elsewhere
                    self._take_live()
            self._take_index()

    def _take_index(self) -> None:
        """Look responses up in the index as it is now; one that cannot be read is refused, and the old one stays."""
        stamp = index_stamp(self.checkpoint)
        if stamp == self._index:
            return
        self._index = stamp
        try:
            self._engine.read_index()
        except CheckpointError as error:
            log.error("index refused", reason=str(error), checkpoint=self.checkpoint.id)
        else:
            log.info("index taken", checkpoint=self.checkpoint.id)

    def _take_live(self) -> None:
        """Goes over to the checkpoint that is live; one that cannot answer is refused, and the old one goes on."""
        try:
            engine = self._ready_engine()
        except Exception as error:  # whatever is in it, this thread has to see the next one
            reason = str(error) or type(error).__name__
            log.error("checkpoint refused", reason=reason, checkpoint=self.checkpoint.id)
            return
        if engine:
            self._swap(engine)

    def _ready_engine(self) -> ChatEngine | None:
        """An engine for the checkpoint that is live, or None where it answers already.

        It runs and has answered once: what fails at that would fail everybody. Raises CheckpointError.
        """
        checkpoint = load_checkpoint("live")
        if checkpoint.id == self.checkpoint.id and self.is_running:
            return None
        engine = ChatEngine(checkpoint, persona=self._persona)
        engine.start()
        if engine.reply(ReplyRequest("Hello!")).status == "failed":
            engine.close()
            raise CheckpointError(f"The checkpoint in {checkpoint.folder} cannot answer.")
        return engine

    def _swap(self, engine: ChatEngine) -> None:
        """New replies go to `engine` from now on; returns once those of the old one have ended."""
        with self._changing:
            if self._closed.is_set():
                return engine.close()
            self._ending, self._engine = self._engine, engine
            self._on_change(engine.checkpoint)
        log.info("checkpoint taken", checkpoint=engine.checkpoint.id, before=self._ending.checkpoint.id)
        self._ending.close(math.inf)
        self._ending = None  # at most two models are kept, for the next one is not looked for before this


def reply_of_before(answering: str, request: ReplyRequest, persona: Persona = PERSONA) -> Reply | None:
    """What the checkpoint says to which a rollback would lead; it is not kept.

    None where there is none, where it cannot answer, or where `answering` is not the checkpoint that is live.
    """
    folder = before_live() if answering == live_id() else None
    if folder is None or not _loading.acquire(timeout=_BEFORE_SECONDS):
        return None
    try:
        with ChatEngine(load_checkpoint(folder), persona=persona) as before:
            return before.reply(request)
    except CheckpointError as error:
        log.warning("checkpoint before not asked", reason=str(error))
        return None
    finally:
        _loading.release()
