import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.batches import batches, make_batch, windows
from data.store import StoreWriter, TokenStore
from data.vocabulary import BOS, EOS

_utterance = st.lists(st.integers(4, 50), max_size=6).map(np.array)
_dialogues = st.lists(st.lists(_utterance, min_size=1, max_size=5), min_size=1, max_size=6)


def unpack(packed: torch.Tensor, sizes: list[int]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(sizes[0])] if sizes else []
    values = iter(packed.tolist())
    for size in sizes:
        for row in rows[:size]:
            row.append(next(values))
    return rows


@given(_dialogues)
def test_a_batch_holds_every_utterance_forwards_and_backwards(dialogues):
    batch = make_batch(dialogues)
    expected = sorted([*utterance.tolist(), EOS] for dialogue in dialogues for utterance in dialogue)
    assert sorted(unpack(batch.tokens, batch.sizes)) == expected
    assert sorted(row[::-1] for row in unpack(batch.tokens_backwards, batch.sizes)) == expected


@given(_dialogues)
def test_every_utterance_but_a_dialogues_first_is_a_response_to_the_turn_before(dialogues):
    batch = make_batch(dialogues)
    utterances = unpack(batch.tokens, batch.sizes)
    turns = [utterances[index] for index in batch.turns.tolist()]
    found = [
        (turns[before], utterances[response])
        for before, response in zip(batch.states.tolist(), batch.responses.tolist(), strict=True)
    ]
    expected = [
        ([*first.tolist(), EOS], [*second.tolist(), EOS])
        for dialogue in dialogues
        for first, second in itertools.pairwise(dialogue)
    ]
    assert sorted(found) == sorted(expected)


@given(_dialogues)
def test_the_decoder_reads_each_target_one_step_late(dialogues):
    batch = make_batch(dialogues)
    for read, said in zip(
        unpack(batch.inputs, batch.response_sizes), unpack(batch.targets, batch.response_sizes), strict=True
    ):
        assert read == [BOS, *said[:-1]]
        assert said[-1] == EOS


@pytest.fixture
def store(tmp_path):
    lengths = [2, 7, 1, 4]
    with StoreWriter(tmp_path / "store") as writer:
        writer.extend(np.arange(4, 4 + sum(lengths)), np.ones(sum(lengths), int), np.array(lengths))
    return TokenStore.open(tmp_path / "store")


def test_long_dialogues_are_cut_so_that_each_response_is_learned_once(store):
    assert windows(store, 3).tolist() == [
        [0, 0, 2], [1, 0, 3], [1, 2, 5], [1, 4, 7], [2, 0, 1], [3, 0, 3], [3, 2, 4],
    ]  # fmt: skip


@given(st.lists(st.integers(1, 30), max_size=8), st.integers(2, 12))
def test_windows_follow_one_another_by_the_utterance_they_share(counts, turns):
    offsets = np.cumsum([0, *counts])
    expected = [
        [dialogue, first, min(first + turns, count)]
        for dialogue, count in enumerate(counts)
        for first in range(0, max(1, count - 1), turns - 1)
    ]
    assert windows(TokenStore(np.arange(0), np.arange(offsets[-1] + 1), offsets), turns).tolist() == expected


def test_an_epoch_meets_every_response_once_and_can_be_joined_late(store):
    def targets(skip: int) -> list[int]:
        order = np.random.default_rng(1)
        return [int(token) for batch in batches(store, 2, 3, order, skip) for token in batch.targets if token != EOS]

    whole = targets(0)
    responses = set(range(4, 18)) - {4, 6, 13, 14}  # all but each dialogue's first
    assert sorted(whole) == sorted(responses)
    assert targets(2) == whole[-len(targets(2)) :]
