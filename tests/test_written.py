"""The conversations that were written for this program, as a corpus of every installation."""

import json
import lzma
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import training
from data.formats.corpora import written
from data.formats.dialogue import Dialogue
from data.preparation import PrepareConfig, prepare
from data.store import TokenStore


@pytest.fixture(scope="module")
def conversations() -> list[Dialogue]:
    return list(written())


def test_a_person_begins_and_the_chatbot_has_the_last_word(conversations: list[Dialogue]) -> None:
    assert len(conversations) > 5_000
    for one in conversations:
        assert one.roles == ("user", "assistant") * (len(one.utterances) // 2), one.id
        assert all(text == " ".join(text.split()) != "" for text in one.utterances), one.id


def test_no_conversation_is_there_twice(conversations: list[Dialogue]) -> None:
    ids = Counter(one.id for one in conversations)
    words = Counter(" ".join(one.utterances).lower() for one in conversations)
    assert max(ids.values()) == max(words.values()) == 1


def test_every_split_is_large_enough_to_judge_by(conversations: list[Dialogue]) -> None:
    sizes = Counter(one.split for one in conversations)
    assert sizes.keys() == {"train", "validation", "test"}
    assert min(sizes["validation"], sizes["test"]) > 200


def test_prepared_conversations_are_in_the_splits_of_their_files(tmp_path: Path, conversations: list[Dialogue]) -> None:
    prepare(["written"], tmp_path / "prepared", PrepareConfig(seed=5))
    for split in ("train", "validation", "test"):
        own = sum(one.split == split for one in conversations)
        kept = len(TokenStore.open(tmp_path / "prepared" / "dialogues" / split))
        assert kept == pytest.approx(own, rel=0.03)  # a few are divided where an utterance is unfit
    test = TokenStore.open(tmp_path / "prepared" / "dialogues" / "test")
    assert np.diff(test.dialogues).mean() == pytest.approx(
        np.mean([len(one.utterances) for one in conversations if one.split == "test"]), rel=0.03
    )


def test_judgements_are_of_conversations_that_nothing_is_measured_on(conversations: list[Dialogue]) -> None:
    measured = {one.id for one in conversations if one.split == "test"}
    with lzma.open(Path(training.__path__[0]) / "judgements.jsonl.xz", "rt", encoding="utf-8") as lines:
        judged = list(map(json.loads, lines))
    assert sum(len(one["candidates"]) for one in judged) > 30_000
    for one in judged:
        assert one["id"] not in measured
        assert one.get("context") or one["context_sha256"]
        for candidate in one["candidates"]:
            assert candidate["text"]
            assert candidate["specific"] <= candidate["sensible"]
            assert candidate["best"] <= candidate["sensible"]
