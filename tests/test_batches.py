import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.batches import Batch, batches, make_batch, streams, windows
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


def answers(batch: Batch) -> list[tuple[list[int] | int, list[int]]]:
    """Each response with the utterance before it, or with the row of the state that its dialogue starts from."""
    utterances = unpack(batch.tokens, batch.sizes)
    turns = [utterances[index] for index in batch.turns.tolist()]
    before = [*range(batch.turn_sizes[0]), *turns]
    return [
        (before[state], utterances[response])
        for state, response in zip(batch.states.tolist(), batch.responses.tolist(), strict=True)
    ]


def closed(utterance: np.ndarray) -> list[int]:
    return [*utterance.tolist(), EOS]


@given(_dialogues)
def test_every_utterance_but_a_dialogues_first_is_a_response_to_the_turn_before(dialogues):
    expected = [
        (closed(first), closed(second)) for dialogue in dialogues for first, second in itertools.pairwise(dialogue)
    ]
    assert sorted(answers(make_batch(dialogues))) == sorted(expected)


@given(_dialogues)
def test_with_openings_a_dialogues_first_utterance_answers_the_state_it_starts_from(dialogues):
    batch = make_batch(dialogues, openings=True)
    assert len(batch.responses) == sum(map(len, dialogues))
    openings = [(row, said) for row, said in answers(batch) if isinstance(row, int)]
    longest_first = sorted(dialogues, key=len, reverse=True)
    assert sorted(openings) == [(row, closed(dialogue[0])) for row, dialogue in enumerate(longest_first)]


@given(_dialogues)
def test_the_last_states_are_those_after_the_dialogues_last_utterances(dialogues):
    batch = make_batch(dialogues)
    utterances = unpack(batch.tokens, batch.sizes)
    turns = [utterances[index] for index in batch.turns.tolist()]
    found = [turns[place - len(dialogues)] for place in batch.last_states.tolist()]
    assert found == [closed(dialogue[-1]) for dialogue in sorted(dialogues, key=len, reverse=True)]


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


@pytest.mark.parametrize("cut", [batches, streams])
def test_only_what_weighs_something_is_a_response_and_keeps_its_weight(tmp_path, cut):
    lengths, weights = [2, 7, 1, 4], np.array([9, 2, 9, 0, 1, -1, 0, 0, 3, 9, 9, 0, 0.5, 0])
    with StoreWriter(tmp_path / "store", weighted=True) as writer:
        writer.extend(np.arange(4, 18), np.ones(14, int), np.array(lengths), weights)
    found = {}
    for batch in cut(TokenStore.open(tmp_path / "store"), 2, 3):
        first_words = batch.targets[: len(batch.weights)].tolist()
        found |= dict(zip(first_words, batch.weights.tolist(), strict=True))
    assert found == {5: 2, 8: 1, 9: -1, 12: 3, 16: 0.5}


@pytest.mark.parametrize("openings", [False, True])
def test_streams_go_on_where_the_batch_before_stopped(store, openings):
    """The corpus counts its utterances, so it shows whether each dialogue comes whole and goes on in the right row."""
    heard: dict[int, list[int]] = {}
    learned: list[int] = []
    rows: list[list[int]] = []
    for batch in streams(store, 2, 3, np.random.default_rng(0), openings=openings):
        utterances = unpack(batch.tokens, batch.sizes)
        turns = [utterances[index][0] for index in batch.turns.tolist()]
        before, rows = rows, [[] for _ in range(batch.turn_sizes[0])]
        packed = iter(turns)
        for size in batch.turn_sizes:
            for row in rows[:size]:
                row.append(next(packed))
        for row, place in zip(rows, batch.goes_on.tolist(), strict=True):
            if place >= 0:
                assert row[0] == before[place][-1] + 1
        for row, place in zip(rows, batch.goes_on.tolist(), strict=True):
            first = next(key for key, value in heard.items() if value[-1] == row[0] - 1) if place >= 0 else row[0]
            heard.setdefault(first, []).extend(row)
        learned += [utterances[index][0] for index in batch.responses.tolist()]
    expected = {4: [4, 5], 6: list(range(6, 13)), 14: list(range(14, 18))} | ({13: [13]} if openings else {})
    assert heard == expected
    everything = {token for tokens in expected.values() for token in tokens}
    assert sorted(learned) == sorted(everything - (set() if openings else set(expected)))


def test_streams_can_be_joined_late(store):
    def tokens(skip: int) -> list[list[int]]:
        return [batch.tokens.tolist() for batch in streams(store, 2, 3, np.random.default_rng(1), skip)]

    assert tokens(2) == tokens(0)[2:]
