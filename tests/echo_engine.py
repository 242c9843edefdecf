"""A double of ChatEngine that needs no model: it says the utterance back, word by word."""

import struct
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from chatbot.reply import Candidate, DialogueState, Reply, ReplyRequest, Word
from chatbot.state_map import StateMap
from data.vocabulary import SPECIALS, Vocabulary

# Its states are one number, how many utterances there were.
MAP = StateMap(
    np.zeros(1), np.array([[1.0, 0.5]]), np.zeros(2), np.full(2, 40.0), np.linspace(0, 1, 32 * 32).reshape(32, 32)
)


class EchoTicket:
    def __init__(self) -> None:
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()


class EchoEngine:
    """Replies "You said: …" with `delay` seconds before each word; "please fail" fails, unless it is tried again.

    The dialogue state counts the utterances so far, so a test sees whether it was kept.
    """

    def __init__(self, delay: float = 0.0, checkpoint: str = "echo") -> None:
        self.delay = delay
        words = Vocabulary([*SPECIALS, "hello", "you", "said"])
        self.checkpoint = SimpleNamespace(id=checkpoint, vocabulary=words, state_map=MAP)
        self.is_running = False
        self.requests: list[ReplyRequest] = []
        self._threads: list[threading.Thread] = []
        self._tickets: list[EchoTicket] = []

    def start(self) -> None:
        self.is_running = True

    def close(self, drain_seconds: float = 0) -> None:
        deadline = time.monotonic() + drain_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for ticket in self._tickets:
            ticket.stop()
        self.wait()

    def wait(self) -> None:
        """Until every reply so far has been handed over."""
        for thread in self._threads:
            thread.join()

    def submit(
        self, request: ReplyRequest, on_delta: Callable[[str], None], on_finished: Callable[[Reply], None]
    ) -> EchoTicket:
        ticket = EchoTicket()
        thread = threading.Thread(target=self._say, args=(request, ticket, on_delta, on_finished), daemon=True)
        self.requests.append(request)
        self._tickets.append(ticket)
        self._threads.append(thread)
        thread.start()
        return ticket

    def before(self, request: ReplyRequest) -> None:
        """There was none."""

    def _say(
        self,
        request: ReplyRequest,
        ticket: EchoTicket,
        on_delta: Callable[[str], None],
        on_finished: Callable[[Reply], None],
    ) -> None:
        said = ""
        for word in self._words(request):
            if ticket.stopped.wait(self.delay):
                return on_finished(self._reply(request, said, "stopped"))
            said += word
            on_delta(word)
        on_finished(self._reply(request, said, "completed" if said else "failed"))

    def _words(self, request: ReplyRequest) -> list[str]:
        if request.utterance == "please fail" and self.requests.count(request) == 1:
            return []
        first, *rest = f"You said: {request.utterance}".split(" ")
        return [first, *(f" {word}" for word in rest)]

    def _reply(self, request: ReplyRequest, text: str, status: str) -> Reply:
        seen = len(request.context)
        if request.state and request.state.checkpoint == self.checkpoint.id:
            seen = round(struct.unpack("<f", request.state.vector)[0])
        before, after = (DialogueState(struct.pack("<f", seen + n), self.checkpoint.id) for n in (1, 2))
        candidates = tuple(
            Candidate(said, -n, -2.0, -3.0, 0.5, 0.0, None, None, source)
            for n, (said, source) in enumerate([(text, "decoded"), ("Hm.", "retrieved")])
        )
        tree = Word("", 1.0, [Word("You", 0.5, [Word("said", 0.25, [])])]) if request.is_trial else None
        return Reply(text, status, self.checkpoint.id, before, after, candidates=candidates, tree=tree)
