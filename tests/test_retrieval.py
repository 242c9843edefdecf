import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from chatbot.checkpoint import Checkpoint, CheckpointError, load_checkpoint, promote, save_checkpoint
from chatbot.cli import main
from chatbot.decoding import DEFAULT, GREEDY, DecodingConfig, decode, encode_utterances, log_probabilities
from chatbot.engine import ChatEngine
from chatbot.reply import ReplyRequest
from chatbot.retrieval import FOLDER, index_responses, open_responses
from data.store import StoreWriter
from data.vocabulary import SPECIALS, Vocabulary
from tests.tiny_checkpoint import tiny_model

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
RETRIEVING = DecodingConfig(candidates=2, retrieved=3, mmi_lambda=0.5, relevance_weight=1.0, max_tokens=8)


def a_checkpoint(folder: Path, seed: int = 0, **network: str) -> Checkpoint:
    vocabulary = Vocabulary([*SPECIALS, *WORDS])
    return save_checkpoint(folder, tiny_model(len(vocabulary), seed, **network), vocabulary, {})


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
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
    return folder


@pytest.fixture
def indexed(checkpoint: Checkpoint, prepared: Path) -> Checkpoint:
    index_responses(checkpoint, prepared)
    return checkpoint


def ids_of(checkpoint: Checkpoint, text: str) -> list[int]:
    return [checkpoint.vocabulary.id_of(word) for word in text.split()]


def spell(checkpoint: Checkpoint, ids: Sequence[int]) -> str:
    return " ".join(checkpoint.vocabulary.tokens[place] for place in ids)


def test_an_index_holds_each_response_once_but_none_that_opens_a_dialogue_is_short_or_has_an_unknown_word(
    indexed: Checkpoint,
) -> None:
    responses = open_responses(indexed)
    assert responses is not None
    found = [spell(indexed, responses[place]) for place in range(len(responses))]
    assert sorted(found) == sorted(FIT)


def test_what_is_found_is_what_the_whole_vectors_find(indexed: Checkpoint) -> None:
    responses, model = open_responses(indexed), indexed.model
    assert responses is not None
    states = torch.randn(20, model.state_width, generator=torch.Generator().manual_seed(1))
    every = [responses[place] for place in range(len(responses))]
    relevance = model.relevance_query(states) @ encode_utterances(model, every).T
    everything_said = [[list(range(len(indexed.vocabulary)))]] * 20
    for row, found in enumerate(responses.find(states, everything_said, 2)):
        scores = sorted((float(relevance[row, every.index(ids)]) for ids in found), reverse=True)
        assert scores == pytest.approx(relevance[row].topk(2).values.tolist(), abs=0.05)


def test_a_response_names_only_what_was_named_in_the_dialogue(indexed: Checkpoint) -> None:
    responses = open_responses(indexed)
    assert responses is not None

    def names_found(*earlier: str) -> set[str]:
        said = [ids_of(indexed, text) for text in earlier]
        [found] = responses.find(indexed.model.initial_state(1), [said], 99)
        return {word for ids in found for word in spell(indexed, ids).split()} & {"London", "John", "1984"}

    assert names_found("do you like music") == set()
    assert names_found("I'm John", "so you like London") == {"John"}
    assert names_found("I like London", "1984") == {"London", "1984"}


def test_responses_stand_among_the_candidates_with_the_scores_they_would_have_had_if_decoded(
    indexed: Checkpoint,
) -> None:
    model = indexed.model
    states = torch.randn(5, model.state_width, generator=torch.Generator().manual_seed(2))
    earlier = [[ids_of(indexed, "do you like music")]] * 5
    for found in decode(model, states, RETRIEVING, earlier=earlier, responses=open_responses(indexed), max_batch=2):
        assert sum(hypothesis.is_retrieved for hypothesis in found) == 3
        assert {spell(indexed, one.ids) for one in found if one.is_retrieved} <= FIT
        assert len(found) == 5
    plain = decode(model, states, RETRIEVING, earlier=earlier)
    assert all(len(found) == 2 and not any(one.is_retrieved for one in found) for found in plain)


@pytest.mark.parametrize("kind", ["hred", "seq2seq", "language-model"])
def test_forced_responses_have_the_log_probability_of_one_step_after_another(kind: str) -> None:
    model = tiny_model(12, kind=kind)
    utterances = [[4, 5, 6], [7], [4, 4, 8, 9, 10], [], [11, 4]]
    states = torch.randn(5, model.state_width, generator=torch.Generator().manual_seed(3))
    found = log_probabilities(model, states, utterances)
    for row, ids in enumerate(utterances):
        state, total = states[row : row + 1], 0.0
        memory = model.start_decoding(state)
        for token, target in zip([2, *ids], [*ids, 3], strict=True):
            logits, memory = model.decode_step(torch.tensor([token]), memory, state)
            total += float(logits.log_softmax(1)[0, target])
        assert float(found[row]) == pytest.approx(total, abs=1e-4)


def test_a_reply_says_whether_somebody_else_said_it(indexed: Checkpoint) -> None:
    never = replace(RETRIEVING, relevance_weight=0.0, mmi_lambda=0.0, length_penalty=0.0)
    with ChatEngine(indexed, RETRIEVING) as engine:
        requests = [ReplyRequest("do you like music", decoding=config, seed=seed)
                    for config in (RETRIEVING, never, GREEDY) for seed in range(12)]  # fmt: skip
        replies = [engine.reply(request) for request in requests]
    said = {indexed.vocabulary.decode(ids_of(indexed, text)) for text in FIT}
    assert {reply.is_retrieved for reply in replies} == {True, False}
    assert all(reply.text in said for reply in replies if reply.is_retrieved)
    assert not any(reply.is_retrieved for reply in replies[-12:])  # a greedy reply streams; nothing is chosen


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


def test_a_checkpoint_without_an_index_answers_as_ever(checkpoint: Checkpoint) -> None:
    assert open_responses(checkpoint) is None
    with ChatEngine(checkpoint, replace(DEFAULT, retrieved=4, max_tokens=5)) as engine:
        assert engine.reply(ReplyRequest("do you like music", seed=1)).status == "completed"


def test_an_index_goes_with_its_checkpoint_when_it_is_promoted(
    indexed: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))
    responses = open_responses(promote(indexed.folder))
    assert responses is not None
    assert len(responses) == len(FIT)


def test_an_index_of_another_checkpoint_is_refused(indexed: Checkpoint, tmp_path: Path) -> None:
    other = a_checkpoint(tmp_path / "other", seed=1)
    (indexed.folder / FOLDER).rename(other.folder / FOLDER)
    with pytest.raises(CheckpointError, match=r"made for another checkpoint; make it anew with `chatbot models index`"):
        ChatEngine(other)


@pytest.mark.parametrize("part", ["index.json", "responses.safetensors", "vectors.faiss"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_index_is_refused_in_one_sentence(indexed: Checkpoint, part: str, damage: str) -> None:
    file = indexed.folder / FOLDER / part
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "other":
        file.write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"is damaged or of another version; make it anew") as told:
        open_responses(indexed)
    assert "\n" not in str(told.value)


def test_the_command_makes_an_index_and_makes_it_anew(checkpoint: Checkpoint, prepared: Path) -> None:
    for _ in range(2):
        result = CliRunner().invoke(main, ["models", "index", str(checkpoint.folder), str(prepared)])
        assert result.exit_code == 0, result.output
        assert f"{checkpoint.id} now knows 5 responses." in result.output
    assert json.loads((checkpoint.folder / FOLDER / "index.json").read_text())["checkpoint"] == checkpoint.id
    assert sorted(path.name for path in checkpoint.folder.iterdir() if path.name.startswith(".")) == []
    assert load_checkpoint(checkpoint.folder).id == checkpoint.id


def test_the_command_refuses_what_cannot_be_indexed(checkpoint: Checkpoint, prepared: Path, tmp_path: Path) -> None:
    def refusal(folder: Path, corpus: Path) -> str:
        result = CliRunner().invoke(main, ["models", "index", str(folder), str(corpus)])
        assert result.exit_code == 2
        assert not (folder / FOLDER).exists()
        return result.output

    assert "cannot be used" in refusal(checkpoint.folder, tmp_path / "nowhere")
    model = a_checkpoint(tmp_path / "language-model", kind="language-model")
    assert "language model" in refusal(model.folder, prepared)
    strange = Vocabulary([*SPECIALS, *(f"strange{place}" for place in range(len(WORDS) + 1))])
    strange.save(prepared / "vocabulary.json")
    assert "No response" in refusal(checkpoint.folder, prepared)
