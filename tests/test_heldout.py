"""What a checkpoint is judged by: how it is read, and how contexts and rivals are drawn from it."""

import json
from pathlib import Path

import numpy as np
import pytest

from chatbot.reply import CONTEXT_TURNS
from data.store import StoreWriter
from data.vocabulary import SPECIALS, Vocabulary
from tests.tiny_checkpoint import tiny_checkpoint
from training.heldout import contexts_of, demand_shared_words, read_dialogues, rivals


def chat(*utterances: str) -> str:
    return json.dumps({"messages": [{"content": text} for text in utterances]})


def read(corpus: Path) -> tuple[list[list[str]], list[tuple[str, str]]]:
    bad: list[tuple[str, str]] = []
    dialogues = read_dialogues(corpus, lambda *why: bad.append(why))
    return [[" ".join(tokens) for tokens in dialogue] for dialogue in dialogues], bad


def write_prepared(folder: Path, dialogues: list[list[list[int]]], pairs: list[list[list[int]]]) -> None:
    folder.mkdir()
    Vocabulary([*SPECIALS, "hi", "you"]).save(folder / "vocabulary.json")
    for kind, held_out in (("dialogues", dialogues), ("pairs", pairs)):
        utterances = [utterance for dialogue in held_out for utterance in dialogue]
        tokens = [token for utterance in utterances for token in utterance]
        parts = tokens, list(map(len, utterances)), list(map(len, held_out))
        with StoreWriter(folder / kind / "test") as writer:
            writer.extend(*(np.array(part, int) for part in parts))


def test_chat_jsonl_is_cleaned_and_what_cannot_be_read_is_named(tmp_path):
    file = tmp_path / "talk.jsonl"
    file.write_text("\n".join([chat("Hello there!", "hi , how are you ?"), "{broken", chat("alone")]))
    dialogues, bad = read(file)
    assert dialogues == [["Hello there ￭!", "hi ￭, how are you ￭?"]]
    assert bad == [("talk", "unreadable line (1)")]


def test_of_a_prepared_folder_the_test_split_is_read_with_its_unknown_words(tmp_path):
    write_prepared(tmp_path / "prepared", [[[4], [5, 1], [4, 4]]], [[[5], [5]]])
    assert read(tmp_path / "prepared")[0] == [["hi", "you <unk>", "hi hi"]]


def test_pairs_are_read_where_there_are_no_dialogues(tmp_path):
    write_prepared(tmp_path / "prepared", [], [[[5], [4]]])
    assert read(tmp_path / "prepared")[0] == [["you", "hi"]]


@pytest.mark.parametrize("content", ["{broken", chat("alone"), ""])
def test_a_corpus_without_a_dialogue_is_one_sentence(tmp_path, content):
    file = tmp_path / "talk.jsonl"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"talk\.jsonl holds no dialogue of two utterances or more"):
        read(file)


def test_an_empty_test_split_and_a_missing_file_are_one_sentence(tmp_path):
    write_prepared(tmp_path / "prepared", [], [])
    with pytest.raises(ValueError, match=r"The test split of .*prepared holds no dialogue"):
        read(tmp_path / "prepared")
    with pytest.raises(ValueError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")


def test_contexts_are_drawn_by_the_seed_from_all_responses_and_end_before_theirs():
    dialogues = [[f"{place}.{turn}" for turn in range(length)] for place, length in enumerate([30, 2, 1, 5])]
    every = contexts_of(dialogues, 1_000, 0)
    assert [(context.dialogue, context.turn) for context in every] == [
        *((0, turn) for turn in range(1, 30)), (1, 1), *((3, turn) for turn in range(1, 5))
    ]  # fmt: skip
    assert every[20].utterances == [f"0.{turn}" for turn in range(21 - CONTEXT_TURNS, 21)]
    assert every[20].response == "0.21"
    drawn = contexts_of(dialogues, 5, 1)
    assert len(drawn) == 5
    assert drawn == contexts_of(dialogues, 5, 1) != contexts_of(dialogues, 5, 2)


def test_rivals_are_of_different_other_dialogues_and_say_different_things():
    dialogues = [[["hi"], [f"{place % 7}"], [f"{place % 7}"]] for place in range(12)]
    contexts = contexts_of(dialogues, 100, 0)
    found = rivals(contexts, 5, np.random.default_rng(0))
    assert found.shape == (24, 5)
    for own, row in zip(contexts, found, strict=True):
        others = [contexts[place] for place in row]
        assert len({own.dialogue, *(other.dialogue for other in others)}) == 6
        assert len({own.response[0], *(other.response[0] for other in others)}) == 6


def test_there_are_no_rivals_where_too_few_say_different_things():
    dialogues = [[["hi"], [f"{place % 7}"]] for place in range(12)]
    contexts = contexts_of(dialogues, 100, 0)
    assert rivals(contexts, 7, np.random.default_rng(0)) is None
    assert rivals(contexts[:3], 3, np.random.default_rng(0)) is None


def test_a_checkpoint_of_another_language_is_refused_in_one_sentence(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "model")
    demand_shared_words(checkpoint, [["hello", "there", "mes", "amis"]])
    with pytest.raises(ValueError, match="holds 25% of the words of this corpus only"):
        demand_shared_words(checkpoint, [["hello", "tous"], ["mes", "amis"]])
