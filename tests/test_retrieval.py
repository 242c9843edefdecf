import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from chatbot.checkpoint import Checkpoint, save_checkpoint
from chatbot.cli import main
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.offline import decode
from chatbot.decoding.ranking import rate
from chatbot.decoding.retrieval import offer_retrieved
from chatbot.decoding.search import start_searches
from chatbot.decoding.utterances import encode_utterances, log_probabilities
from chatbot.engine import ChatEngine
from chatbot.history import open_history
from chatbot.live import LiveEngine
from chatbot.reply import DEFAULT, GREEDY, DecodingConfig, Reply, ReplyRequest
from chatbot.retrieval import (
    Responses,
    fit_responses,
    index_file,
    index_responses,
    inherit_responses,
    open_responses,
)
from chatbot.shelf import CheckpointError, promote
from chatbot.talk import _Dialogue, _talk_in_terminal
from data.debris import Debris
from data.store import StoreWriter, TokenStore
from data.vocabulary import BOS, EOS, SPECIALS, UNK, Speech, Vocabulary
from tests.tiny_checkpoint import tiny_model
from training.new_words import grown
from web.conversations import ConversationService

WORDS = [
    "I",
    "I'm",
    "like",
    "music",
    "films",
    "you",
    "and",
    "the",
    "do",
    "London",
    "John",
    "1984",
    "fine",
    "today",
    "so",
]
SAID = [
    ["do you like music", "I like music and films", "so do I like the films"],
    ["like films today", "I'm John and I like films", "so you like the music", "I like music and films"],
    ["do you like London", "I like the films of yesterday", "the music", "so I like 1984 and London"],
]
FIT = {
    "I like music and films",
    "so do I like the films",
    "I'm John and I like films",
    "so you like the music",
    "so I like 1984 and London",
}
RETRIEVING = DecodingConfig(
    candidates=2, retrieved=3, retrieved_relevance=-99, mmi_lambda=0.5, relevance_weight=1.0, max_tokens=8
)
PREFERRING = DecodingConfig(candidates=2, retrieved=3, length_penalty=0.0, min_tokens=30)  # what is long is unlikely


def a_checkpoint(folder: Path, seed: int = 0, **network: str) -> Checkpoint:
    vocabulary = Vocabulary([*SPECIALS, *WORDS])
    return save_checkpoint(folder, tiny_model(len(vocabulary), seed, **network), vocabulary, {})


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))
    return a_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Of another vocabulary than the checkpoint's: the same words in another order, and one more."""
    folder = tmp_path / "prepared"
    vocabulary = Vocabulary([*SPECIALS, *reversed(WORDS), "of"])
    with StoreWriter(folder / "dialogues" / "train") as writer:
        for dialogue in SAID:
            ids = [[vocabulary.id_of(word) for word in text.split()] for text in dialogue]
            lengths = np.array(list(map(len, ids)))
            writer.extend(np.concatenate(ids), lengths, np.array([len(ids)]))
    vocabulary.save(folder / "vocabulary.json")
    report(folder, chitchat=(3, 10), cornell_pairs=(50, 100))
    return folder


def report(prepared: Path, **kept: tuple[int, int]) -> None:
    """As `chatbot prepare` leaves it: dialogues and utterances of each source."""
    sizes = {name.replace("_chatbot", "-chatbot"): dict(zip(("dialogues", "utterances"), size, strict=True))
             for name, size in kept.items()}  # fmt: skip
    (prepared / "report.json").write_text(json.dumps({"kept": sizes}))


@pytest.fixture
def indexed(checkpoint: Checkpoint, prepared: Path) -> Checkpoint:
    index_responses(checkpoint, prepared)
    return checkpoint


def responses_of(checkpoint: Checkpoint) -> Responses:
    responses = open_responses(checkpoint)
    assert responses is not None
    return responses


def ids_of(checkpoint: Checkpoint, text: str) -> list[int]:
    return [checkpoint.vocabulary.id_of(word) for word in text.split()]


def spell(checkpoint: Checkpoint, ids: Sequence[int]) -> str:
    return " ".join(checkpoint.vocabulary.tokens[place] for place in ids)


def test_an_index_holds_each_response_once_but_none_that_opens_a_dialogue_is_short_or_has_an_unknown_word(
    indexed: Checkpoint,
) -> None:
    responses = responses_of(indexed)
    found = [spell(indexed, responses[place]) for place in range(len(responses))]
    assert sorted(found) == sorted(FIT)


def test_of_responses_those_without_a_mark_are_left_out_unless_all_are(prepared: Path) -> None:
    store = TokenStore.open(prepared / "dialogues" / "train")
    same = np.arange(len(Vocabulary.load(prepared / "vocabulary.json")))
    everything = fit_responses(store, same)
    ends = {ids[-1] for ids in everything}
    one = min(ends)
    assert fit_responses(store, same, Speech(words=frozenset({one}))) == [ids for ids in everything if ids[-1] != one]
    assert fit_responses(store, same, Speech(words=frozenset(ends))) == everything


def test_responses_with_placeholders_or_a_cut_off_end_are_left_out(prepared: Path) -> None:
    store = TokenStore.open(prepared / "dialogues" / "train")
    vocabulary = Vocabulary.load(prepared / "vocabulary.json")
    same, music, films = np.arange(len(vocabulary)), vocabulary.id_of("music"), vocabulary.id_of("films")
    never_music_and = Debris(after={(music,): frozenset({vocabulary.id_of("and")})}, cues=frozenset({music}))
    no_films_at_the_end = Debris(last={(): frozenset({films})})

    def texts(speech: Speech) -> set[str]:
        return {" ".join(vocabulary.tokens[place] for place in ids) for ids in fit_responses(store, same, speech)}

    everything = texts(Speech())
    assert everything - texts(Speech(debris=never_music_and)) == {"I like music and films"}
    assert everything - texts(Speech(debris=no_films_at_the_end)) == {
        one for one in everything if one.endswith("films")
    }


def test_what_is_found_is_what_the_whole_vectors_find(indexed: Checkpoint) -> None:
    responses, model = responses_of(indexed), indexed.model
    states = some_states(indexed, 20)
    every = [responses[place] for place in range(len(responses))]
    relevance = model.relevance_query(states) @ encode_utterances(model, every).T
    everything_said = [[list(range(len(indexed.vocabulary)))]] * 20
    for row, found in enumerate(responses.find(states, everything_said, 2)):
        scores = sorted((float(relevance[row, every.index(ids)]) for ids in found), reverse=True)
        assert scores == pytest.approx(relevance[row].topk(2).values.tolist(), abs=0.05)


def some_states(checkpoint: Checkpoint, count: int) -> torch.Tensor:
    return torch.randn(count, checkpoint.model.state_width, generator=torch.Generator().manual_seed(1))


def test_a_response_names_only_what_was_named_in_the_dialogue(indexed: Checkpoint) -> None:
    responses = responses_of(indexed)

    def names_found(*earlier: str) -> set[str]:
        said = [ids_of(indexed, text) for text in earlier]
        [found] = responses.find(indexed.model.initial_state(1), [said], 99)
        return {word for ids in found for word in spell(indexed, ids).split()} & {"London", "John", "1984"}

    assert names_found("do you like music") == set()
    assert names_found("I'm John", "so you like London") == {"John"}
    assert names_found("I like London", "1984") == {"London", "1984"}


def test_no_response_is_found_to_an_utterance_most_of_whose_words_are_unknown(indexed: Checkpoint) -> None:
    responses, before = responses_of(indexed), ids_of(indexed, "do you like music")
    like = indexed.vocabulary.id_of("like")

    def found(*last: int) -> list[tuple[int, ...]]:
        return responses.find(indexed.model.initial_state(1), [[before, last]], 2)[0]

    assert len(found(UNK, like)) == len(found(*before, UNK)) == 2
    assert found(UNK, UNK, like) == found(UNK) == []


def test_an_index_that_holds_debris_gives_none_of_it(indexed: Checkpoint) -> None:
    responses, said = responses_of(indexed), [[ids_of(indexed, "do you like music")]]
    music, films = indexed.vocabulary.id_of("music"), indexed.vocabulary.id_of("films")
    clean = replace(responses, speech=Speech(debris=Debris(last={(): frozenset({music, films})})))
    found, kept = (one.find(indexed.model.initial_state(1), said, 9)[0] for one in (responses, clean))
    assert kept == [ids for ids in found if ids[-1] not in (music, films)]
    assert len(kept) < len(found)


def test_responses_stand_beside_the_very_samples_that_were_drawn_without_them(indexed: Checkpoint) -> None:
    states, earlier = some_states(indexed, 5), [[ids_of(indexed, "do you like music")]] * 5
    found = decode(indexed.model, states, RETRIEVING, earlier=earlier, responses=open_responses(indexed), max_batch=2)
    plain = decode(indexed.model, states, RETRIEVING, earlier=earlier)
    for group, alone in zip(found, plain, strict=True):
        assert [one.ids for one in group if not one.is_retrieved] == [one.ids for one in alone]
        retrieved = [spell(indexed, one.ids) for one in group if one.is_retrieved]
        assert len(set(retrieved)) == 3
        assert set(retrieved) <= FIT


def test_a_response_has_the_score_of_the_same_words_decoded(indexed: Checkpoint) -> None:
    model, states, said = indexed.model, some_states(indexed, 4), ids_of(indexed, "do you like music")
    groups = decode(model, states, RETRIEVING, earlier=[[said]] * 4, responses=open_responses(indexed))
    for state, group in zip(states.split(1), groups, strict=True):
        spoken = {one.ids for one in group if one.is_retrieved}
        again = [one if not one.is_retrieved else step_by_step(indexed, state, one.ids) for one in group]
        vectors = encode_utterances(model, [one.ids for one in group])
        relevance = model.relevance(state.expand(len(group), -1), vectors).tolist()
        earlier = {tuple(said[start : start + 3]) for start in range(2)}
        scores = [rate(one, RETRIEVING, *rest, earlier).score for one, *rest in zip(again, relevance, strict=True)]
        ended = [score for one, score in zip(group, scores, strict=True) if len(one.ids) < RETRIEVING.max_tokens]
        assert ended == pytest.approx(sorted(ended, reverse=True), abs=1e-4)
        assert spoken


def step_by_step(checkpoint: Checkpoint, state: torch.Tensor, ids: tuple[int, ...]) -> Hypothesis:
    given, alone = (chain_rule(checkpoint, start, ids) for start in (state, checkpoint.model.initial_state(1)))
    return Hypothesis(ids, given, alone)


def chain_rule(checkpoint: Checkpoint, state: torch.Tensor, ids: Sequence[int]) -> float:
    total, memory = 0.0, checkpoint.model.start_decoding(state)
    for token, target in zip([BOS, *ids], [*ids, EOS], strict=True):
        logits, memory = checkpoint.model.decode_step(torch.tensor([token]), memory, state)
        total += float(logits.log_softmax(1)[0, target])
    return total


@pytest.mark.parametrize("kind", ["hred", "seq2seq", "language-model"])
def test_forced_responses_have_the_log_probability_of_one_step_after_another(kind: str, tmp_path: Path) -> None:
    checkpoint = a_checkpoint(tmp_path / kind, kind=kind)
    utterances = [[4, 5, 6], [7], [4, 4, 8, 9, 10], [], [11, 4]] * 30  # more than are taken at once
    states = some_states(checkpoint, len(utterances))
    found = log_probabilities(checkpoint.model, states, utterances)
    for row in (0, 1, 2, 3, 4, 67, 149):
        expected = chain_rule(checkpoint, states[row : row + 1], utterances[row])
        assert float(found[row]) == pytest.approx(expected, abs=1e-4)


def test_a_reply_says_whether_somebody_else_said_it(indexed: Checkpoint) -> None:
    with ChatEngine(indexed) as engine:
        requests = [
            ReplyRequest("do you like music", decoding=config, seed=seed)
            for config in (RETRIEVING, PREFERRING, GREEDY)
            for seed in range(5)
        ]
        replies = [engine.reply(request) for request in requests]
    said = {indexed.vocabulary.decode(ids_of(indexed, text)) for text in FIT}
    assert all(reply.text in said for reply in replies if reply.is_retrieved)
    assert [reply.is_retrieved for reply in replies[5:]] == [True] * 5 + [False] * 5  # a greedy reply is not chosen


@pytest.mark.parametrize("decoding", [PREFERRING, GREEDY])
def test_a_retrieved_reply_is_marked_in_the_event_that_is_stored(
    indexed: Checkpoint, tmp_path: Path, decoding: DecodingConfig
) -> None:
    history, engine = open_history(f"sqlite:///{tmp_path}/chatbot.db"), ChatEngine(indexed, decoding)
    service = ConversationService(history, engine, lambda user, kind, data: None)
    service.start()
    user, _ = history.add_user()
    conversation = service.create(user, None)
    service.send(user, conversation, "first", "do you like music", None)
    service.close(drain_seconds=60)
    *_, ended = history.events_after(user, conversation, 0, 99)[0]
    assert (ended.type, ended.data["status"]) == ("reply.completed", "completed")
    assert ended.data["retrieved"] is (decoding is PREFERRING)


@pytest.mark.parametrize("is_retrieved", [True, False])
def test_a_retrieved_reply_is_marked_in_the_terminal(
    is_retrieved: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Engine:
        def submit(self, request: ReplyRequest, on_delta: Callable[[str], None], on_finished: Callable[[Reply], None]):
            on_delta("So do I.")
            on_finished(Reply("So do I.", "completed", "tiny", is_retrieved=is_retrieved))

    monkeypatch.setattr("builtins.input", lambda prompt, lines=["I like films"]: lines.pop() if lines else end())
    _talk_in_terminal(Engine(), _Dialogue(seed=0), "Bot")
    mark = "  (in the words of someone in another dialogue)" if is_retrieved else ""
    assert capsys.readouterr().out == f"Bot: So do I.{mark}\n\n"


def end() -> str:
    raise EOFError


def test_who_asks_again_is_offered_other_responses(indexed: Checkpoint) -> None:
    one_each = replace(RETRIEVING, candidates=1, retrieved=1)
    state, said = indexed.model.initial_state(1), [[ids_of(indexed, "do you like music")]]
    offered = {
        one.ids
        for seed in range(20)
        for one in decode(indexed.model, state, one_each, seed, earlier=said, responses=open_responses(indexed))[0]
        if one.is_retrieved
    }
    assert len(offered) == 2


def test_what_is_offered_does_not_depend_on_who_else_asks(indexed: Checkpoint) -> None:
    model, said = indexed.model, [ids_of(indexed, "do you like music")]
    one_each = replace(RETRIEVING, retrieved=1)

    def offered(seed: int, *neighbours: DecodingConfig) -> list[tuple[int, ...]]:
        configs = [one_each, *neighbours]
        searches = start_searches(model, model.initial_state(len(configs)), configs, [seed] * len(configs))
        offer_retrieved(model, responses_of(indexed), searches, [said] * len(configs))
        return [one.ids for one in searches[0].ended]

    for seed in range(10):
        assert len(offered(seed)) == 1
        assert offered(seed, RETRIEVING, one_each) == offered(seed)


def test_a_checkpoint_without_an_index_answers_as_ever_and_loads_no_library_for_it(checkpoint: Checkpoint) -> None:
    assert open_responses(checkpoint) is None
    with ChatEngine(checkpoint, replace(DEFAULT, retrieved=4, max_tokens=5)) as engine:
        assert engine.reply(ReplyRequest("do you like music", seed=1)).status == "completed"
    program = (
        "import sys, web.server; from chatbot.checkpoint import load_checkpoint; from chatbot.engine import ChatEngine;"
        f"ChatEngine(load_checkpoint({str(checkpoint.folder)!r})); sys.exit('faiss' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_index_is_no_part_of_its_checkpoint_and_still_there_when_that_is_promoted(indexed: Checkpoint) -> None:
    promoted = promote(indexed.folder)
    assert promoted.folder != indexed.folder
    assert not [path for path in promoted.folder.rglob("*") if "responses" in str(path.relative_to(promoted.folder))]
    assert len(responses_of(promoted)) == len(FIT)


def test_a_checkpoint_that_goes_on_from_another_takes_over_its_responses(indexed: Checkpoint, tmp_path: Path) -> None:
    model, vocabulary = grown(indexed.model, indexed.vocabulary, ["zorbo"], ["zorbo"])
    child = save_checkpoint(tmp_path / "child", model, vocabulary, {})
    inherit_responses(child, indexed)
    before, after = responses_of(indexed), responses_of(child)
    assert len(before) == len(after) > 0
    assert [spell(child, after[place]) for place in range(len(after))] == [
        spell(indexed, before[place]) for place in range(len(before))
    ]


def test_a_checkpoint_whose_parent_has_no_index_gets_none(checkpoint: Checkpoint, tmp_path: Path) -> None:
    child = a_checkpoint(tmp_path / "child", seed=1)
    inherit_responses(child, checkpoint)
    assert not index_file(child).exists()


def test_an_engine_that_runs_takes_an_index_that_is_made_meanwhile_and_refuses_a_damaged_one(
    checkpoint: Checkpoint, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.live.LOOK_SECONDS", 0.01)
    promote(checkpoint.folder)
    engine, asked = LiveEngine(), ReplyRequest("do you like music", decoding=PREFERRING)
    engine.start()
    try:
        assert not reply_of(engine, asked).is_retrieved
        index_responses(checkpoint, prepared)
        while not (reply := reply_of(engine, asked)).is_retrieved:
            time.sleep(0.01)
        no_index(index_file(checkpoint))
        time.sleep(0.1)  # several looks
        assert reply_of(engine, asked).text == reply.text
        index_file(checkpoint).unlink()
        while reply_of(engine, asked).is_retrieved:
            time.sleep(0.01)
    finally:
        engine.close()


def reply_of(engine: LiveEngine, request: ReplyRequest) -> Reply:
    replies: SimpleQueue[Reply] = SimpleQueue()
    engine.submit(request, lambda delta: None, replies.put)
    return replies.get(timeout=60)


def test_an_index_of_another_checkpoint_is_refused(indexed: Checkpoint, tmp_path: Path) -> None:
    other = a_checkpoint(tmp_path / "other", seed=1)
    index_file(indexed).rename(index_file(other))
    with pytest.raises(CheckpointError, match=r"made for another checkpoint; make it anew with `chatbot models index`"):
        ChatEngine(other)
    result = CliRunner().invoke(main, ["talk", "--checkpoint", str(other.folder)], input="Hello\n")
    assert result.exit_code == 2
    assert "another checkpoint" in result.output


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def no_index(file: Path) -> None:
    file.write_bytes(b"\x80\x04cposix\nsystem\n.")  # what unpickles to a call of the shell


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        parts = load_file(file)
        save_file(parts | {name: np.ascontiguousarray(change(parts[name]))}, file, {"format": "1", "checkpoint": "x"})

    return damage


def of_later_format(file: Path) -> None:
    save_file(load_file(file), file, {"format": "2"})


DAMAGES = {
    "cut": cut,
    "no index": no_index,
    "later": of_later_format,
    "fewer vectors": changed("vectors", lambda part: part[:-1]),
    "narrower vectors": changed("vectors", lambda part: part[:, :-1]),
    "vectors of other numbers": changed("vectors", lambda part: part.astype(np.float64)),
    "no numbers": changed("vectors", lambda part: part * np.float16(np.nan)),
    "offsets that jump": changed("offsets", lambda part: part[::-1]),
    "offsets beyond the end": changed("offsets", lambda part: part * 9),
    "tokens the vocabulary has not": changed("tokens", lambda part: part + 99),
    "another network's projection": changed("projection", lambda part: part[1:]),
    "no projection": changed("projection", lambda part: part[0, 0]),
    "nothing": changed("tokens", lambda part: part[:0]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_refused_in_one_sentence(indexed: Checkpoint, damage: Callable[[Path], None]) -> None:
    damage(index_file(indexed))
    with pytest.raises(CheckpointError, match=r"is damaged or of another version; make it anew") as told:
        open_responses(indexed)
    assert "\n" not in str(told.value)


def test_the_command_makes_an_index_and_makes_it_anew(checkpoint: Checkpoint, prepared: Path) -> None:
    for _ in range(2):
        result = CliRunner().invoke(main, ["models", "index", str(checkpoint.folder), str(prepared)])
        assert result.exit_code == 0, result.output
        assert f"{checkpoint.id} knows 5 responses" in result.output
    assert list(index_file(checkpoint).parent.iterdir()) == [index_file(checkpoint)]


def refusal(checkpoint: Checkpoint, corpus: Path, *options: str) -> str:
    result = CliRunner().invoke(main, ["models", "index", str(checkpoint.folder), str(corpus), *options])
    assert result.exit_code == 2
    assert not index_file(checkpoint).exists()
    return result.output


def test_only_permissive_corpora_are_taken_unless_another_is_named(checkpoint: Checkpoint, prepared: Path) -> None:
    report(prepared, chitchat=(3, 10), films=(3, 10))
    assert "also holds films" in refusal(checkpoint, prepared)
    assert "--source films" in refusal(checkpoint, prepared, "--source", "series")
    accepted = CliRunner().invoke(main, ["models", "index", str(checkpoint.folder), str(prepared), "--source", "films"])
    assert accepted.exit_code == 0, accepted.output


def test_conversations_of_users_are_never_taken(checkpoint: Checkpoint, prepared: Path) -> None:
    report(prepared, chitchat=(3, 10), hred_chatbot=(3, 10))
    assert "users' conversations" in refusal(checkpoint, prepared, "--source", "hred-chatbot")


def test_the_command_refuses_what_cannot_be_indexed(checkpoint: Checkpoint, prepared: Path, tmp_path: Path) -> None:
    assert "not a prepared folder" in refusal(checkpoint, tmp_path / "nowhere")
    assert "language model" in refusal(a_checkpoint(tmp_path / "language-model", kind="language-model"), prepared)
    strange = Vocabulary([*SPECIALS, *(f"strange{place}" for place in range(len(WORDS) + 1))])
    strange.save(prepared / "vocabulary.json")
    assert "No response" in refusal(checkpoint, prepared)
    Vocabulary([*SPECIALS, *WORDS[:3]]).save(prepared / "vocabulary.json")
    assert "another vocabulary" in refusal(checkpoint, prepared)
