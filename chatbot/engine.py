"""Many conversations, one model, one decode loop.

One thread owns the model; it alone calls torch. Replies join and leave the batch while others go on, so a short one
never waits for a long one. An error in one reply fails that reply and nothing else. Knows no SQL and no web.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from chatbot.beam_tree import beam_tree
from chatbot.checkpoint import Checkpoint
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.ranking import Rated, ranked
from chatbot.decoding.retrieval import offer_retrieved, offer_written
from chatbot.decoding.search import Search, start_searches
from chatbot.decoding.stepping import step
from chatbot.decoding.utterances import closed
from chatbot.inference import prepare
from chatbot.persona import OWN_NAME, PERSONA, Persona, Renaming, renaming_for
from chatbot.processor import FreeCores
from chatbot.reply import (
    CONTEXT_TURNS,
    DEFAULT,
    Candidate,
    DecodingConfig,
    DialogueState,
    EngineUnavailable,
    Reply,
    ReplyRequest,
    Status,
    Word,
)
from chatbot.retrieval import open_responses
from chatbot.safety.guard import Guard, Guarded
from data.cleaning import normalise
from data.vocabulary import Vocabulary

MAX_WAITING = 1024  # replies; beyond it the engine says so instead of promising an answer in minutes
_UTTERANCE_TOKENS = 100  # of a longer utterance the encoder reads the beginning and the end
_UTTERANCE_CHARACTERS = 4000
_STREAM_SECONDS = 0.02
_READ_SECONDS = 0.05
_REMEMBERED = 2_048  # texts whose ids are: a turn comes again with each of the ten after it

logger = logging.getLogger(__name__)

Text = TypeVar("Text", str, list[int])
Argument = TypeVar("Argument")


class ReplyTicket:
    """A submitted reply, in the hands of whoever asked for it; any thread may stop it, at any time, twice."""

    __slots__ = ("stopped",)

    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        """The reply ends with the text so far and the status `stopped`, unless it has ended already."""
        self.stopped = True


@dataclass(slots=True, eq=False)
class _Turn:
    """A request on its way through the engine."""

    request: ReplyRequest  # in the network's names
    guarded: Guarded | None
    renaming: Renaming | None
    decoding: DecodingConfig
    on_delta: Callable[[str], None]
    on_finished: Callable[[Reply], None]
    ticket: ReplyTicket = field(default_factory=ReplyTicket)
    utterance: Sequence[int] = ()
    context: Sequence[Sequence[int]] = ()
    beside: Sequence[Sequence[int]] = ()
    search: Search | None = None
    text: str = ""  # what was streamed
    asked_at: float = field(default_factory=time.monotonic)
    begun_at: float | None = None
    streamed_at: float = 0.0
    batch: int = 0  # the most that were in one with it
    beams: list[list[Hypothesis]] = field(default_factory=list)  # what lived after each step, if it is drawn

    @property
    def live(self) -> Search:
        assert self.search is not None
        return self.search

    @property
    def is_drawn(self) -> bool:
        """Whether its beams are to be shown."""
        return self.request.is_trial and self.decoding.method == "beam"

    @property
    def earlier(self) -> list[Sequence[int]]:
        return [*self.context, self.utterance]

    @property
    def candidates(self) -> list[Hypothesis]:
        """What the reply is chosen from; one that was stopped has what was streamed, be it nothing."""
        if self.live.is_done:
            return self.live.ended
        return self.live.live if self.decoding.is_single_path else [Hypothesis()]

    @property
    def has_ended(self) -> bool:
        return self.live.is_done or self.ticket.stopped

    def named(self, text: str, is_whole: bool = True) -> str:
        """Return a text of the network with the chatbot's name of today in place of the network's."""
        return self.renaming.to_people(text, is_whole) if self.renaming else text


class ChatEngine:
    """Answers for one checkpoint. `with ChatEngine(checkpoint) as engine: engine.reply(ReplyRequest("Hello"))`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        decoding: DecodingConfig = DEFAULT,
        max_batch: int = 64,
        persona: Persona = PERSONA,
    ) -> None:
        """`decoding` is for requests that bring none; `max_batch` replies are decoded at once, others wait. The
        chatbot is called as `persona` says.

        Raises CheckpointError where the checkpoint has an index of responses that is none of its own.
        """
        self._model = prepare(checkpoint.model)
        self.checkpoint = replace(checkpoint, model=self._model)  # so that the weights are not kept twice
        self._responses = open_responses(self.checkpoint)
        if checkpoint.responses is not None:
            checkpoint.responses.prepare()
        self._ids_of = lru_cache(_REMEMBERED)(partial(_ids_of, checkpoint.vocabulary))
        self._decoding = decoding
        holds_dialogues = checkpoint.model.config.kind != "seq2seq"  # which turns a text into another, whatever it says
        self._guard = Guard(persona) if holds_dialogues else None
        is_robin = checkpoint.responses is not None  # those are of conversations written for a chatbot of that name
        self._new_name = persona.name if is_robin and persona.name != OWN_NAME else None
        self._max_batch = max_batch
        self._speech = checkpoint.vocabulary.speech()
        self._thread = threading.Thread(target=self._run, name="chat-engine", daemon=True)
        self._changed = threading.Condition()  # guards the next two
        self._waiting: deque[_Turn] = deque()
        self._deadline: float | None = None  # of the replies under way, once closing
        self._batch: list[_Turn] = []  # the engine's thread's own, and so is the next
        self._read_at = 0.0  # seconds, monotonic

    @property
    def is_running(self) -> bool:
        """Whether somebody is there to answer."""
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def read_index(self) -> None:
        """Read the index of responses anew, for the replies that begin from now on; callable from any thread.

        Raises CheckpointError where it is none of this checkpoint's; the engine then keeps what it had.
        """
        self._responses = open_responses(self.checkpoint)

    def close(self, drain_seconds: float = 0.0) -> None:
        """Takes no more requests, gives those it has some seconds to end, stops the rest, and waits for that.

        Calling it again is harmless, and may shorten the time.
        """
        with self._changed:
            self._deadline = time.monotonic() + drain_seconds
            self._changed.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def submit(
        self, request: ReplyRequest, on_delta: Callable[[str], None], on_finished: Callable[[Reply], None]
    ) -> ReplyTicket:
        """Queues a request; callable from any thread.

        `on_delta` gets the reply's text piece by piece; together they are `Reply.text`. `on_finished` is called exactly
        once, last. Both run on the engine's thread and must be quick. Raises EngineUnavailable.
        """
        guarded = self._guard.look(request, self.checkpoint.vocabulary) if self._guard else None
        renaming = renaming_for(self._new_name, request, self.checkpoint.vocabulary) if self._new_name else None
        heard = renaming.to_network(request) if renaming else request
        turn = _Turn(heard, guarded, renaming, request.decoding or self._decoding, on_delta, on_finished)
        with self._changed:
            if self._deadline is not None or not self._thread.is_alive():
                raise EngineUnavailable("The engine is not running.")
            if len(self._waiting) >= MAX_WAITING:
                raise EngineUnavailable("Too many replies are waiting; try again in a moment.")
            self._waiting.append(turn)
            self._changed.notify()
        return turn.ticket

    def reply(self, request: ReplyRequest) -> Reply:
        """Waits for the reply; not to be called from a callback."""
        finished = threading.Event()
        replies: list[Reply] = []

        def keep(reply: Reply) -> None:
            replies.append(reply)
            finished.set()

        self.submit(request, lambda delta: None, keep)
        finished.wait()
        return replies[0]

    # All below runs on the engine's thread.

    @torch.inference_mode()
    def _run(self) -> None:
        cores = FreeCores()
        try:
            while self._wait_for_work():
                cores.look()
                if self._is_time_to_read():
                    ended = [turn for turn in self._batch if turn.has_ended]
                    self._each_apart(self._read, ended + self._arrivals())
                self._each_apart(self._extend, [turn for turn in self._batch if not turn.has_ended])
                self._each_apart(self._stream, [turn for turn in self._batch if turn.decoding.is_single_path])
        finally:  # whatever happens, nobody waits for ever
            with self._changed:
                self._deadline = time.monotonic()
                abandoned = [*self._batch, *self._waiting]
                self._waiting.clear()
            for turn in abandoned:
                self._finish(turn, "failed")

    def _wait_for_work(self) -> bool:
        """Sleeps until there is something to do; False once closed and done."""
        with self._changed:
            self._changed.wait_for(lambda: self._batch or self._waiting or self._deadline is not None)
            if self._deadline is not None and time.monotonic() >= self._deadline:
                for turn in (*self._batch, *self._waiting):
                    turn.ticket.stop()
            return bool(self._batch or self._waiting)

    def _is_time_to_read(self) -> bool:
        """Whether what was said meanwhile is read into the states: many utterances cost little more than a few, so some
        are waited for while others are answered, but not for long."""
        live = sum(not turn.has_ended for turn in self._batch)
        unread = len(self._batch) - live + min(len(self._waiting), self._max_batch - live)
        now = time.monotonic()
        if 2 * unread < live and now - self._read_at < _READ_SECONDS:
            return False
        self._read_at = now
        return True

    def _arrivals(self) -> list[_Turn]:
        """Takes as many waiting turns as the batch has room for; those guarded, or stopped while waiting, end here."""
        with self._changed:
            stopped = [turn for turn in self._waiting if turn.ticket.stopped]
            guarded = [turn for turn in self._waiting if turn.guarded and not turn.ticket.stopped]
            self._waiting = deque(turn for turn in self._waiting if not (turn.ticket.stopped or turn.guarded))
            live = sum(not turn.has_ended for turn in self._batch)
            room = min(len(self._waiting), self._max_batch - live)
            arrivals = [self._waiting.popleft() for _ in range(room)]
        for turn in stopped:
            self._finish(turn, "stopped")
        for turn, found in ((turn, turn.guarded) for turn in guarded):
            assert found
            self._say(turn, found.text)
            self._finish(turn, "completed", guarded=found.category, tree=Word("", 1.0, []) if turn.is_drawn else None)
        return arrivals

    def _each_apart(self, work: Callable[[Sequence[_Turn]], None], turns: Sequence[_Turn]) -> None:
        """Does the work for all turns in one batch; if it fails, for each alone, so that only the culprit fails."""
        try:
            if turns:
                work(turns)
            return
        except Exception as error:
            if len(turns) == 1:
                self._fail(turns[0], error)
                return
        for turn in list(turns):
            self._each_apart(work, [turn])

    def _read(self, turns: Sequence[_Turn]) -> None:
        """Reads into the dialogue states what was said meanwhile, all in one batch: replies that have ended, which are
        then answered, and utterances of users, to whom replies then begin."""
        ended = [turn for turn in turns if turn.search]
        fresh = [turn for turn in turns if not turn.search]
        chosen = self._choose(ended) if ended else []
        carried = [self._hear(turn) for turn in fresh]
        heard: list[list[Sequence[int]]] = [[rated[0].hypothesis.ids] for rated in chosen]
        heard += [
            [turn.utterance] if state is not None else [*turn.context, turn.utterance]
            for turn, state in zip(fresh, carried, strict=True)
        ]
        nothing = self._model.initial_state(1)
        before = [turn.live.state for turn in ended] + [nothing if state is None else state for state in carried]
        after = self._track(torch.cat(before), heard)
        if fresh:
            self._begin(fresh, after[len(ended) :])
        for turn, rated, state in zip(ended, chosen, after, strict=False):
            try:
                self._answer(turn, rated, state)
            except Exception as error:  # the others' work is done, and is not to be done again
                self._fail(turn, error)

    def _hear(self, turn: _Turn) -> Tensor | None:
        """Takes in the ids of what is to be read -> the state that the request brings, if it is one."""
        turn.utterance = self._ids(turn.request.utterance)
        turn.context = [self._ids(text) for text in turn.request.context[-CONTEXT_TURNS:] if text.strip()]
        turn.beside = [self._ids(text) for text in turn.request.beside]
        return self._carried(turn.request.state)

    def _begin(self, turns: Sequence[_Turn], states: Tensor) -> None:
        """Starts the searches for replies to states (n, S)."""
        decodings = [turn.decoding for turn in turns]
        judge, own = self.checkpoint.judge, self.checkpoint.responses
        seeds = [turn.request.seed for turn in turns]
        searches = start_searches(self._model, states, decodings, seeds, judge is not None)
        earlier = [turn.earlier for turn in turns]
        if (responses := self._responses) is not None:
            offer_retrieved(self._model, responses, searches, earlier, judge is not None)
        if judge is not None and own is not None:
            offer_written(own, searches, earlier)
        for turn, search in zip(turns, searches, strict=True):
            turn.search, turn.begun_at = search, time.monotonic()
        self._batch.extend(turns)

    def _extend(self, turns: Sequence[_Turn]) -> None:
        """One more token for every reply under way."""
        step(self._model, [turn.live for turn in turns], self._speech)
        for turn in turns:
            turn.batch = max(turn.batch, len(turns))
            if turn.is_drawn:
                turn.beams.append(turn.live.live)

    def _stream(self, turns: Sequence[_Turn]) -> None:
        """A text only grows at its end as its tokens do, so what was streamed stays true. Its last words wait for
        `_answer`; to write it out at every token would take a tenth of the time, and nobody reads as fast."""
        now = time.monotonic()
        for turn in turns:
            if not turn.text or now - turn.streamed_at >= _STREAM_SECONDS:
                turn.streamed_at = now
                hypothesis = (turn.live.live or turn.live.ended)[0]
                self._say(turn, turn.named(self.checkpoint.vocabulary.decode(hypothesis.ids), is_whole=False))

    def _choose(self, turns: Sequence[_Turn]) -> list[list[Rated]]:
        """The candidates of each reply, the best first."""
        states = torch.cat([turn.live.state for turn in turns])  # (n, S)
        earlier, beside = [turn.earlier for turn in turns], [turn.beside for turn in turns]
        candidates, decodings = [turn.candidates for turn in turns], [turn.decoding for turn in turns]
        return ranked(self._model, states, candidates, decodings, earlier, self.checkpoint.judge, beside)

    def _answer(self, turn: _Turn, rated: Sequence[Rated], after: Tensor) -> None:
        """`rated` are its candidates, the first of which is the reply."""
        self._batch.remove(turn)
        chosen = rated[0].hypothesis
        self._say(turn, turn.named(self.checkpoint.vocabulary.decode(chosen.ids)))
        before = self._kept(turn.live.state[0])
        status: Status = "completed" if turn.live.is_done else "stopped"
        found = [self._candidate(turn, one) for one in reversed(rated)] if len(rated) > 1 else []
        candidates = {one.text: one for one in found}
        state = self._kept(after) if turn.text else before
        told: dict[str, Any] = {"is_retrieved": chosen.is_retrieved, "candidates": tuple(reversed(candidates.values()))}
        if turn.is_drawn:
            told["tree"] = beam_tree(turn.beams, turn.live.ended, self.checkpoint.vocabulary, turn.named)
        self._finish(turn, status, before, state, **told)

    def _candidate(self, turn: _Turn, rated: Rated) -> Candidate:
        found = rated.hypothesis
        text = turn.named(self.checkpoint.vocabulary.decode(found.ids))
        nats = (found.log_probability, found.log_prior)
        sensible, specific = rated.sense or (None, None)
        return Candidate(text, rated.score, *nats, rated.relevance, rated.repetition, sensible, specific, found.source)

    def _fail(self, turn: _Turn, error: Exception) -> None:
        logger.error("A reply failed.", exc_info=error)
        if turn in self._batch:
            self._batch.remove(turn)
        before = self._kept(turn.search.state[0]) if turn.search else None
        self._finish(turn, "failed", before)

    def _say(self, turn: _Turn, text: str) -> None:
        delta = text[len(turn.text) :]
        if delta:
            turn.text += delta
            _call(turn.on_delta, delta)

    def _finish(
        self,
        turn: _Turn,
        status: Status,
        before: DialogueState | None = None,
        after: DialogueState | None = None,
        **told: Any,
    ) -> None:
        waited = (turn.begun_at or time.monotonic()) - turn.asked_at
        told |= {"batch": turn.batch, "waited": waited}
        _call(turn.on_finished, Reply(turn.text, status, self.checkpoint.id, before, after, **told))

    def _ids(self, text: str) -> Sequence[int]:
        """Ids of a text, mended as the training text was; of a very long one, those of its beginning and its end."""
        return self._ids_of(_ends(text, _UTTERANCE_CHARACTERS))

    def _track(self, states: Tensor, heard: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        """States (n, S) and the utterances heard since, one list a dialogue -> states after them (n, S).

        Turn by turn, all dialogues in one batch; only a state that was lost has more than one turn to hear.
        """
        states = states.clone()
        for turn in range(max(map(len, heard))):
            rows = [row for row, utterances in enumerate(heard) if turn < len(utterances)]
            states[rows] = self._model.listen(*closed([heard[row][turn] for row in rows]), states[rows])
        return states

    def _carried(self, state: DialogueState | None) -> Tensor | None:
        """The state (1, S) that came with a request, if this checkpoint made it and it is whole."""
        size = self._model.state_width
        if state is None or state.checkpoint != self.checkpoint.id or len(state.vector) != 4 * size:
            return None
        vector = np.frombuffer(state.vector, dtype="<f4").astype(np.float32)
        return torch.from_numpy(vector)[None] if np.isfinite(vector).all() else None

    def _kept(self, state: Tensor) -> DialogueState:
        return DialogueState(state.numpy().astype("<f4").tobytes(), self.checkpoint.id)


def _ids_of(vocabulary: Vocabulary, text: str) -> tuple[int, ...]:
    return tuple(_ends(vocabulary.encode(normalise(text, vocabulary)), _UTTERANCE_TOKENS))


def _ends(whole: Text, limit: int) -> Text:
    return whole if len(whole) <= limit else whole[: limit // 2] + whole[-limit // 2 :]


def _call(callback: Callable[[Argument], None], argument: Argument) -> None:
    """The engine outlives whatever its callers' code raises."""
    try:
        callback(argument)
    except Exception:
        logger.exception("A callback of a reply raised.")
