import logging
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatbot import engine as engine_module
from chatbot.checkpoint import Checkpoint
from chatbot.engine import MAX_WAITING, ChatEngine, ReplyTicket
from chatbot.reply import (
    CONTEXT_TURNS,
    DEFAULT,
    GREEDY,
    DecodingConfig,
    DialogueState,
    EngineUnavailable,
    Reply,
    ReplyRequest,
    Word,
)
from tests.tiny_checkpoint import tiny_checkpoint

TALKATIVE = replace(GREEDY, min_tokens=30, max_tokens=30, no_repeat_ngram=0)
UTTERANCES = [
    "Hello there, how are you today?",
    "I am fine.",
    "What is your name?",
    "Yes!",
    "do you like music",
    "I like films, and you?",
    "No. No! NO...",
    "zebra quagga okapi",
    "",
    " \n\t ",
    "😀",
]


@pytest.fixture(autouse=True)
def _streaming_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_STREAM_SECONDS", 0.0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return tiny_checkpoint(tmp_path / "tiny")


@pytest.fixture
def engine(checkpoint: Checkpoint) -> Iterator[ChatEngine]:
    with ChatEngine(checkpoint, GREEDY) as running:
        yield running


class Listener:
    """Collects what one reply says."""

    def __init__(self, engine: ChatEngine, request: ReplyRequest, on_delta: Callable[[str], Any] | None = None) -> None:
        self.deltas: list[str] = []
        self.replies: list[Reply] = []
        self.threads: set[str] = set()
        self.finished = threading.Event()
        self.begun = threading.Event()
        self._on_delta = on_delta
        self.ticket: ReplyTicket = engine.submit(request, self._heard, self._ended)

    def _heard(self, delta: str) -> None:
        assert not self.replies, "a delta came after the end"
        self.deltas.append(delta)
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        if self._on_delta:
            self._on_delta(delta)

    def _ended(self, reply: Reply) -> None:
        self.replies.append(reply)
        self.finished.set()

    def reply(self) -> Reply:
        assert self.finished.wait(120), "no reply came"
        [reply] = self.replies
        return reply


def spy(checkpoint: Checkpoint, name: str, before: Callable[..., Any]) -> None:
    """Calls `before` with the arguments of every call of one of the model's methods."""
    plain = getattr(checkpoint.model, name)

    def spied(*arguments: Any) -> Any:
        before(*arguments)
        return plain(*arguments)

    setattr(checkpoint.model, name, spied)


def hold_back(checkpoint: Checkpoint) -> threading.Event:
    """Lets no decoding step begin until the event is set."""
    may_go = threading.Event()
    spy(checkpoint, "decode_step", lambda *_: may_go.wait(120))
    return may_go


def floats(state: DialogueState | None) -> list[float]:
    assert state is not None
    return list(struct.unpack(f"<{len(state.vector) // 4}f", state.vector))


def test_a_reply_on_a_single_path_streams_token_by_token(engine: ChatEngine) -> None:
    listener = Listener(engine, ReplyRequest("Hello there", decoding=TALKATIVE))
    reply = listener.reply()
    assert reply.status == "completed"
    assert reply.checkpoint == engine.checkpoint.id
    assert "".join(listener.deltas) == reply.text
    assert len(listener.deltas) == 30


def test_a_reply_tells_how_many_were_written_with_it_and_how_long_it_waited(checkpoint: Checkpoint) -> None:
    with ChatEngine(checkpoint, TALKATIVE, max_batch=2) as engine:
        first, *others = [Listener(engine, ReplyRequest("Hello", seed=seed)) for seed in range(4)]
        replies = [listener.reply() for listener in others]
        alone = engine.reply(ReplyRequest("Hello"))
    assert max(reply.batch for reply in [first.reply(), *replies]) == 2
    assert replies[-1].waited > first.reply().waited
    assert alone.batch == 1


def test_words_that_nobody_could_read_one_by_one_come_together(
    engine: ChatEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_STREAM_SECONDS", 60.0)
    listener = Listener(engine, ReplyRequest("Hello", decoding=TALKATIVE))
    reply = listener.reply()
    assert "".join(listener.deltas) == reply.text
    assert len(listener.deltas) == 2  # the first at once, and the rest with the end
    assert reply.text[0].isupper() or not reply.text[0].isalpha()


def test_a_reply_comes_with_what_it_was_chosen_among(engine: ChatEngine) -> None:
    unlimited = replace(DEFAULT, max_tokens=400)  # so that no sample is cut off
    reply = engine.reply(ReplyRequest("Hello there", decoding=unlimited, seed=1))
    texts = [one.text for one in reply.candidates]
    assert texts[0] == reply.text
    assert 1 < len(texts) == len(set(texts)) <= DEFAULT.candidates
    scores = [one.score for one in reply.candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(one.log_probability < 0 and one.log_prior < 0 for one in reply.candidates)
    assert engine.reply(ReplyRequest("Hello there", decoding=GREEDY)).candidates == ()


def test_a_trial_of_beam_search_comes_as_a_tree_of_words(engine: ChatEngine) -> None:
    beam = DecodingConfig(method="beam", beam_size=3, length_penalty=0.0)
    reply = engine.reply(ReplyRequest("Hello there", decoding=beam, is_trial=True))
    assert reply.tree is not None

    def branches(word: Word, said: str, so_far: float) -> Iterator[tuple[float, str]]:
        """Those that have ended, with their probability."""
        assert 0 < word.probability <= 1
        for child in word.children:
            if child.children:
                yield from branches(child, said + child.word, so_far * child.probability)
            elif not child.word:
                yield so_far * child.probability, said

    _, said = max(branches(reply.tree, "", 1.0))
    assert said.lower() == reply.text.replace(" ", "").lower()
    plain = engine.reply(ReplyRequest("Hello there", decoding=beam))
    assert (plain.text, plain.tree) == (reply.text, None)


def test_a_reply_chosen_among_candidates_streams_once_chosen(engine: ChatEngine) -> None:
    listener = Listener(engine, ReplyRequest("Hello there", decoding=DEFAULT, seed=1))
    reply = listener.reply()
    assert reply.text
    assert listener.deltas == [reply.text]


@pytest.mark.parametrize("kind", ["seq2seq", "language-model"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_model_of_the_family_can_chat_and_its_state_is_carried(tmp_path: Path, kind: str, cell: str) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny", kind=kind, cell=cell, layers=2)
    for decoding in (GREEDY, DEFAULT, DecodingConfig(method="beam")):
        with ChatEngine(checkpoint, decoding) as engine:
            first = engine.reply(ReplyRequest("Hello", seed=1))
            carried = engine.reply(ReplyRequest("And you?", ("Hello", first.text), first.state_after, seed=2))
            rebuilt = engine.reply(ReplyRequest("And you?", ("Hello", first.text), seed=2))
        assert first.text
        assert (carried.status, carried.text) == ("completed", rebuilt.text)
        assert floats(carried.state_after) == pytest.approx(floats(rebuilt.state_after), abs=1e-5)


@pytest.mark.parametrize("decoding", [GREEDY, DEFAULT, DecodingConfig(method="beam"), DecodingConfig(max_tokens=1)])
def test_every_utterance_gets_a_visible_reply_without_tags(engine: ChatEngine, decoding: DecodingConfig) -> None:
    listeners = [Listener(engine, ReplyRequest(text, decoding=decoding, seed=0)) for text in UTTERANCES * 3]
    for listener in listeners:
        reply = listener.reply()
        assert reply.status == "completed"
        assert reply.text.strip()
        assert "<" not in reply.text
        assert "￭" not in reply.text


def test_conversations_that_join_at_different_steps_get_the_text_they_get_alone(checkpoint: Checkpoint) -> None:
    decoding = replace(GREEDY, max_tokens=20)
    requests = [ReplyRequest(f"{one} {other}", decoding=decoding) for one in UTTERANCES for other in UTTERANCES]
    with ChatEngine(checkpoint, max_batch=1) as engine:
        alone = [engine.reply(request).text for request in requests]
    sizes: list[int] = []
    spy(checkpoint, "decode_step", lambda tokens, *_: sizes.append(len(tokens)))
    with ChatEngine(checkpoint, max_batch=16) as engine:
        listeners = [Listener(engine, request) for request in requests]
        together = [listener.reply().text for listener in listeners]
    assert together == alone
    assert len(set(alone)) > 10
    assert max(sizes) == 16
    assert len(sizes) < sum(len(checkpoint.vocabulary.encode(text)) for text in alone) / 4


def test_a_reply_joins_a_batch_that_is_under_way_and_leaves_it_first(checkpoint: Checkpoint) -> None:
    endings: list[str] = []
    with ChatEngine(checkpoint) as engine:
        short = replace(GREEDY, max_tokens=2)

        def interrupt(delta: str) -> None:
            if len(long.deltas) == 5:
                engine.submit(ReplyRequest("Yes!", decoding=short), lambda _: None, lambda _: endings.append("short"))

        ready = hold_back(checkpoint)
        long = Listener(engine, ReplyRequest("Hello", decoding=TALKATIVE), interrupt)
        ready.set()
        long.reply()
        endings.append("long")
    assert endings == ["short", "long"]


def test_only_the_engines_thread_calls_the_model(checkpoint: Checkpoint) -> None:
    threads = set()
    for name in ("encode", "track", "start_decoding", "decode_step", "relevance", "initial_state"):
        spy(checkpoint, name, lambda *_: threads.add(threading.current_thread().name))
    with ChatEngine(checkpoint) as engine:
        listener = Listener(engine, ReplyRequest("Hello", context=("Hi.", "Yes!")))
        listener.reply()
    assert threads == listener.threads == {"chat-engine"}


def test_the_next_turn_reads_only_the_new_utterance_and_the_replys_candidates(checkpoint: Checkpoint) -> None:
    encoded: list[int] = []
    spy(checkpoint, "encode", lambda utterances, _: encoded.append(len(utterances)))
    with ChatEngine(checkpoint, GREEDY) as engine:
        state, context = None, ()
        for _ in range(30):
            encoded.clear()
            reply = engine.reply(ReplyRequest("How are you?", context, state))
            assert encoded == [1, 1]
            state, context = reply.state_after, (*context, "How are you?", reply.text)
        encoded.clear()
        engine.reply(ReplyRequest("How are you?", context, state, decoding=DEFAULT))
        assert encoded == [1, DEFAULT.candidates, 1]


@pytest.mark.parametrize("lost", ["none", "other checkpoint", "cut short", "not numbers"])
def test_a_lost_state_is_rebuilt_from_the_last_turns(checkpoint: Checkpoint, lost: str) -> None:
    with ChatEngine(checkpoint, GREEDY) as engine:
        state, context = None, ()
        for utterance in UTTERANCES[:4]:
            reply = engine.reply(ReplyRequest(utterance, context, state))
            state, context = reply.state_after, (*context, utterance, reply.text)
        assert state is not None
        unusable = {
            "none": None,
            "other checkpoint": replace(state, checkpoint="hred-another"),
            "cut short": replace(state, vector=state.vector[:-3]),
            "not numbers": replace(state, vector=struct.pack("<f", float("nan")) * (len(state.vector) // 4)),
        }[lost]
        encoded: list[int] = []
        spy(checkpoint, "encode", lambda utterances, _: encoded.append(len(utterances)))
        carried = engine.reply(ReplyRequest("And you?", context, state))
        rebuilt = engine.reply(ReplyRequest("And you?", context, unusable))
    assert encoded == [1, 1, *[1] * (len(context) + 1), 1]
    assert rebuilt.text == carried.text
    assert floats(rebuilt.state_before) == pytest.approx(floats(carried.state_before), abs=1e-5)


def test_a_reply_that_was_stopped_before_its_first_word_leaves_no_trace_in_a_rebuilt_state(engine: ChatEngine) -> None:
    with_blank = engine.reply(ReplyRequest("And you?", context=("Hello", "", "Yes!")))
    assert with_blank == engine.reply(ReplyRequest("And you?", context=("Hello", "Yes!")))


def test_a_rebuilt_state_costs_no_more_than_the_last_turns(checkpoint: Checkpoint) -> None:
    encoded: list[int] = []
    spy(checkpoint, "encode", lambda utterances, _: encoded.append(len(utterances)))
    with ChatEngine(checkpoint, GREEDY) as engine:
        engine.reply(ReplyRequest("Hello", context=("Yes!",) * 1000))
    assert sum(encoded) == CONTEXT_TURNS + 1 + 1  # and the reply itself


def test_states_of_dialogues_of_different_lengths_are_tracked_in_one_batch(checkpoint: Checkpoint) -> None:
    with ChatEngine(checkpoint, GREEDY) as engine:
        requests = [ReplyRequest("And you?", context=tuple(UTTERANCES[:turns])) for turns in range(8)]
        alone = [engine.reply(request) for request in requests]
        ready = hold_back(checkpoint)
        first = Listener(engine, ReplyRequest("Hello", decoding=TALKATIVE))
        listeners = [Listener(engine, request) for request in requests]
        ready.set()
        first.reply()
        for listener, expected in zip(listeners, alone, strict=True):
            assert listener.reply().text == expected.text
            found = listener.reply()
            assert floats(found.state_before) == pytest.approx(floats(expected.state_before), abs=1e-5)
            assert floats(found.state_after) == pytest.approx(floats(expected.state_after), abs=1e-5)


def test_a_reply_can_be_asked_for_again_from_the_state_before_the_utterance(engine: ChatEngine) -> None:
    first = engine.reply(ReplyRequest("Hello"))
    once = engine.reply(ReplyRequest("What is your name?", state=first.state_after))
    again = engine.reply(ReplyRequest("What is your name?", state=first.state_after))
    assert again == once
    assert engine.reply(ReplyRequest("I like films", state=first.state_after)).state_before != once.state_before


def test_a_seed_fixes_a_sampled_reply_whatever_else_is_in_the_batch(engine: ChatEngine) -> None:
    decodings = [DecodingConfig(max_tokens=20), replace(DEFAULT, max_tokens=20)]
    requests = [ReplyRequest("Hello", decoding=decoding, seed=7) for decoding in decodings]
    alone = [engine.reply(request).text for request in requests]
    crowd = [Listener(engine, ReplyRequest(text, decoding=decodings[0])) for text in UTTERANCES]
    assert [engine.reply(request).text for request in requests] == alone
    for listener in crowd:
        listener.reply()
    others = {engine.reply(replace(requests[0], seed=seed)).text for seed in range(8)}
    assert len(others) > 1


def test_a_stopped_reply_keeps_the_text_so_far_and_its_state(engine: ChatEngine) -> None:
    def stop_after_five(delta: str) -> None:
        if len(listener.deltas) == 5:
            listener.ticket.stop()

    ready = hold_back(engine.checkpoint)
    listener = Listener(engine, ReplyRequest("Hello", decoding=TALKATIVE), stop_after_five)
    ready.set()
    reply = listener.reply()
    assert reply.status == "stopped"
    assert reply.text == "".join(listener.deltas)
    assert len(listener.deltas) == 5
    carried = engine.reply(ReplyRequest("And you?", state=reply.state_after))
    rebuilt = engine.reply(ReplyRequest("And you?", context=("Hello", reply.text)))
    assert floats(carried.state_before) == pytest.approx(floats(rebuilt.state_before), abs=1e-5)


def test_a_reply_stopped_before_it_was_chosen_is_empty_and_leaves_the_state_as_it_was(engine: ChatEngine) -> None:
    ready = hold_back(engine.checkpoint)
    listener = Listener(engine, ReplyRequest("Hello", decoding=DEFAULT))
    listener.ticket.stop()
    listener.ticket.stop()
    ready.set()
    reply = listener.reply()
    assert (reply.text, reply.status) == ("", "stopped")
    assert reply.state_after == reply.state_before


def test_a_reply_stopped_while_waiting_ends_though_the_batch_is_full(checkpoint: Checkpoint) -> None:
    with ChatEngine(checkpoint, TALKATIVE, max_batch=1) as engine:
        ready = hold_back(checkpoint)
        running = Listener(engine, ReplyRequest("Hello"))
        waiting = Listener(engine, ReplyRequest("Hello"))
        waiting.ticket.stop()
        ready.set()
        assert waiting.reply() == Reply("", "stopped", checkpoint.id)
        assert running.reply().status == "completed"


def test_an_error_in_one_reply_fails_only_that_one(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    poison = checkpoint.vocabulary.encode("zebra music")[1]

    def choke(utterances: Any, lengths: Any) -> None:
        if (utterances == poison).any():
            raise RuntimeError("cannot read this")

    spy(checkpoint, "encode", choke)
    with ChatEngine(checkpoint, replace(GREEDY, max_tokens=1)) as engine:
        ready = hold_back(checkpoint)
        first = Listener(engine, ReplyRequest("Hello", decoding=TALKATIVE))
        batch = [Listener(engine, ReplyRequest(text)) for text in ("Hello", "Yes!", "music", "No.")]
        ready.set()
        assert [listener.reply().status for listener in batch].count("failed") >= 1
        assert batch[2].reply().status == "failed"
        assert batch[0].reply().status == "completed"
        first.finished.wait(120)
        assert engine.reply(ReplyRequest("Hello")).status == "completed"
    assert "cannot read this" in caplog.text


def test_an_error_while_decoding_fails_only_its_reply_and_keeps_its_text(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = type(checkpoint.vocabulary).decode

    def decode(vocabulary: Any, ids: tuple[int, ...]) -> str:
        if len(ids) > 6:
            raise RuntimeError("too long to spell")
        return plain(vocabulary, ids)

    monkeypatch.setattr(type(checkpoint.vocabulary), "decode", decode)
    with ChatEngine(checkpoint) as engine:
        ready = hold_back(checkpoint)
        failing = Listener(engine, ReplyRequest("Hello", decoding=TALKATIVE))
        others = [Listener(engine, ReplyRequest(text, decoding=replace(GREEDY, max_tokens=6))) for text in UTTERANCES]
        ready.set()
        assert failing.reply().status == "failed"
        assert failing.reply().text == "".join(failing.deltas)
        assert len(failing.deltas) == 6
        assert failing.reply().state_before is not None
        assert {listener.reply().status for listener in others} == {"completed"}


def test_a_callback_that_raises_is_logged_and_hurts_nobody(
    engine: ChatEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def raise_error(_: object) -> None:
        raise ZeroDivisionError("my mistake")

    engine.submit(ReplyRequest("Hello"), raise_error, raise_error)
    with caplog.at_level(logging.ERROR):
        assert engine.reply(ReplyRequest("Hello")).status == "completed"
    assert "my mistake" in caplog.text


def test_closing_stops_what_is_under_way_and_what_waits(checkpoint: Checkpoint) -> None:
    engine = ChatEngine(checkpoint, TALKATIVE, max_batch=2)
    engine.start()
    ready = hold_back(checkpoint)
    listeners = [Listener(engine, ReplyRequest("Hello")) for _ in range(5)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    while engine._deadline is None:
        threading.Event().wait(0.001)
    ready.set()
    closing.join()
    assert [listener.reply().status for listener in listeners] == ["stopped"] * 5
    engine.close()


def test_draining_lets_accepted_replies_end(checkpoint: Checkpoint) -> None:
    engine = ChatEngine(checkpoint, TALKATIVE, max_batch=2)
    engine.start()
    listeners = [Listener(engine, ReplyRequest("Hello")) for _ in range(5)]
    engine.close(drain_seconds=120)
    assert [listener.replies[0].status for listener in listeners] == ["completed"] * 5
    with pytest.raises(EngineUnavailable):
        engine.reply(ReplyRequest("Hello"))


def test_an_engine_that_was_never_started_refuses_and_closes(checkpoint: Checkpoint) -> None:
    engine = ChatEngine(checkpoint)
    assert not engine.is_running
    with pytest.raises(EngineUnavailable, match="not running"):
        engine.reply(ReplyRequest("Hello"))
    engine.close()


def test_an_engine_that_breaks_down_fails_what_it_has_and_is_not_running(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ChatEngine(checkpoint)
    monkeypatch.setattr(engine, "_arrivals", lambda: 1 / 0)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    engine.start()
    assert engine.is_running
    assert engine.reply(ReplyRequest("Hello")).status == "failed"
    engine.close()
    assert not engine.is_running


def test_an_engine_may_be_closed_from_a_callback(checkpoint: Checkpoint) -> None:
    engine = ChatEngine(checkpoint, TALKATIVE)
    engine.start()
    listener = Listener(engine, ReplyRequest("Hello"), lambda _: engine.close())
    assert listener.reply().status == "stopped"


def test_too_many_waiting_replies_are_refused_and_the_rest_are_answered(checkpoint: Checkpoint) -> None:
    reached = threading.Event()
    spy(checkpoint, "start_decoding", lambda _: reached.set())
    with ChatEngine(checkpoint, replace(GREEDY, max_tokens=1)) as engine:
        ready = hold_back(checkpoint)
        listeners = [Listener(engine, ReplyRequest("Hello", decoding=TALKATIVE))]
        assert reached.wait(120)  # the batch has the first, so none of the next leaves the queue
        listeners += [Listener(engine, ReplyRequest("Hello")) for _ in range(MAX_WAITING)]
        with pytest.raises(EngineUnavailable, match="Too many"):
            engine.reply(ReplyRequest("Hello"))
        ready.set()
        assert {listener.reply().status for listener in listeners} == {"completed"}


def test_nobody_waits_for_ever_if_the_loop_itself_breaks(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    engine = ChatEngine(checkpoint)
    monkeypatch.setattr(engine, "_arrivals", lambda: 1 / 0)
    engine.start()
    assert engine.reply(ReplyRequest("Hello")).status == "failed"
    with pytest.raises(EngineUnavailable):
        engine.reply(ReplyRequest("Hello"))


def test_many_threads_submit_and_stop_and_every_reply_ends_once(checkpoint: Checkpoint) -> None:
    ended: list[Listener] = []
    with ChatEngine(checkpoint, replace(GREEDY, max_tokens=5), max_batch=8) as engine:

        def converse(person: int) -> None:
            for turn in range(10):
                listener = Listener(engine, ReplyRequest(UTTERANCES[(person + turn) % len(UTTERANCES)]))
                if (person + turn) % 3 == 0:
                    listener.ticket.stop()
                listener.reply()
                ended.append(listener)

        people = [threading.Thread(target=converse, args=(person,)) for person in range(12)]
        for person in people:
            person.start()
        for person in people:
            person.join()
    assert len(ended) == 120
    assert all(listener.reply().text == "".join(listener.deltas) for listener in ended)
    assert not engine._batch
    assert not engine._waiting


def test_a_very_long_utterance_is_read_at_its_beginning_and_end(checkpoint: Checkpoint) -> None:
    widths: list[int] = []
    spy(checkpoint, "encode", lambda utterances, _: widths.append(utterances.shape[1]))
    with ChatEngine(checkpoint, GREEDY) as engine:
        long = engine.reply(ReplyRequest("music " + "and " * 500_000 + "films"))
        other_end = engine.reply(ReplyRequest("music " + "and " * 500_000 + "you?"))
        other_beginning = engine.reply(ReplyRequest("films " + "and " * 500_000 + "films"))
    assert max(widths) <= 101
    assert len({long.state_before, other_end.state_before, other_beginning.state_before}) == 3


def test_a_reply_repeats_no_recent_utterance_word_for_word(engine: ChatEngine) -> None:
    decoding = replace(DEFAULT, min_tokens=1, max_tokens=1, candidates=32, top_p=1.0)
    said: tuple[str, ...] = ()
    for seed in range(8):
        reply = engine.reply(ReplyRequest("Hello", context=said, decoding=decoding, seed=seed))
        assert reply.text not in said
        said = (*said, reply.text)


def test_another_reply_is_none_of_those_that_were_given_before(engine: ChatEngine) -> None:
    decoding = replace(DEFAULT, min_tokens=1, max_tokens=1, candidates=32, top_p=1.0)
    given: tuple[str, ...] = ()
    for seed in range(8):
        reply = engine.reply(ReplyRequest("Hello", beside=given, decoding=decoding, seed=seed))
        assert reply.text not in given
        given = (*given, reply.text)


def test_what_is_typed_is_mended_as_the_training_text_was(checkpoint: Checkpoint) -> None:
    with ChatEngine(checkpoint, GREEDY) as engine:
        careless, careful = (
            engine.reply(ReplyRequest(text)) for text in ("<b>Hello</b> there.I am fine", "Hello there. I am fine")
        )
    assert careless.state_before == careful.state_before
