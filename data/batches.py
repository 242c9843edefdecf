"""Dialogues as ids -> batches for one parallel pass, without padding.

Utterances of all dialogues of a batch are sorted, longest first, and packed time-major: step t holds the t-th token of
every utterance that has one. Turns are packed the same way, so that the state tracker runs over all dialogues at once.
Shapes: B dialogues, N utterances, R responses (utterances after a dialogue's first), P and Q packed tokens.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data.store import TokenStore
from data.vocabulary import BOS, EOS, PAD

Utterances = Sequence[np.ndarray]  # the ids of one dialogue, utterance by utterance


@dataclass(frozen=True, slots=True)
class Batch:
    tokens: Tensor  # (P,) every utterance and its EOS
    tokens_backwards: Tensor  # (P,) the same, each read from its end
    sizes: list[int]  # utterances alive at each step, sums to P
    lengths: Tensor  # (N,) with EOS, falling
    turns: Tensor  # (N,) the utterance (in order of length) behind each packed turn
    turn_sizes: list[int]  # dialogues alive at each turn, sums to N
    responses: Tensor  # (R,) the utterances that are responses, in order of length
    states: Tensor  # (R,) the state before each, among the B that dialogues start from and the N after packed turns
    last_states: Tensor  # (B,) the state, counted alike, that each dialogue ends in
    inputs: Tensor  # (Q,) BOS and the words of each response
    targets: Tensor  # (Q,) the words of each response and EOS
    response_sizes: list[int]  # responses alive at each step, sums to Q
    weights: Tensor | None = None  # (R,) how much each response counts, below 0 where it is not to be given; None: 1
    goes_on: Tensor | None = None  # (B,) the dialogue of the batch before that each goes on from; -1: none


def make_batch(
    dialogues: Sequence[Utterances],
    openings: bool | Sequence[bool] = False,
    weights: Sequence[np.ndarray] | None = None,
) -> Batch:
    """One batch of B dialogues of at least one utterance each, longest first.

    `openings` tells whether a dialogue's first utterance is a response as well: to the state that it starts from.
    `weights` tells of each utterance how much it counts as a response; one of 0 is none.
    """
    if isinstance(openings, bool):
        openings = [openings] * len(dialogues)
    order = sorted(range(len(dialogues)), key=lambda row: -len(dialogues[row]))
    dialogues, openings = [dialogues[row] for row in order], [openings[row] for row in order]
    weighing = None if weights is None else np.concatenate([weights[row] for row in order]).astype(np.float32)
    turn_counts = np.array([len(dialogue) for dialogue in dialogues])
    place = np.cumsum(turn_counts) - turn_counts  # where each dialogue begins among all utterances
    turn_sizes = _alive(turn_counts)
    packed_turns = np.concatenate([place[:size] + turn for turn, size in enumerate(turn_sizes)])

    utterances = [utterance for dialogue in dialogues for utterance in dialogue]
    lengths = np.array([len(utterance) + 1 for utterance in utterances])
    by_length = np.argsort(-lengths, kind="stable")
    rank = np.argsort(by_length)
    padded = torch.from_numpy(_padded([utterances[index] for index in by_length], int(lengths.max())))
    sorted_lengths = torch.from_numpy(lengths[by_length])
    tokens, backwards, sizes = pack(padded, sorted_lengths)

    is_response = np.ones(len(utterances), dtype=bool)
    is_response[place] = openings
    if weighing is not None:
        is_response &= weighing != 0
    state_after = len(dialogues) + np.argsort(packed_turns)  # of each utterance
    state_before = np.roll(state_after, 1)
    state_before[place] = np.arange(len(dialogues))
    responses = np.flatnonzero(is_response[by_length])
    targets, _, response_sizes = pack(padded[responses], sorted_lengths[responses])
    inputs, _, _ = pack(_shift_right(padded[responses]), sorted_lengths[responses])
    return Batch(
        tokens=tokens,
        tokens_backwards=backwards,
        sizes=sizes,
        lengths=sorted_lengths,
        turns=torch.from_numpy(rank[packed_turns]),
        turn_sizes=turn_sizes,
        responses=torch.from_numpy(responses),
        states=torch.from_numpy(state_before[by_length[responses]]),
        last_states=torch.from_numpy(state_after[place + turn_counts - 1]),
        inputs=inputs,
        targets=targets,
        response_sizes=response_sizes,
        weights=None if weighing is None else torch.from_numpy(weighing[by_length[responses]]),
    )


def pack(padded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Padded ids (N, T), lengths (N,) falling -> packed (P,), packed from the other end (P,), alive at each step."""
    if len(lengths) == 0:
        return padded.new_zeros(0), padded.new_zeros(0), []
    steps = torch.arange(int(lengths[0]))[:, None]  # (T, 1)
    alive = steps < lengths  # (T, N)
    backwards = padded.T.gather(0, (lengths - 1 - steps).clamp(min=0))
    return padded.T[: len(steps)][alive], backwards[alive], alive.sum(dim=1).tolist()


def windows(store: TokenStore, turns: int) -> np.ndarray:
    """Where to cut long dialogues: (W, 3) rows of dialogue, first and last utterance, `turns` at the most.

    A window begins with the last utterance of the one before, so that every utterance but a dialogue's first is a
    response exactly once.
    """
    counts = np.diff(store.dialogues)
    cuts = np.maximum(1, -(-(counts - 1) // (turns - 1)))  # windows of each dialogue: its responses, rounded up
    dialogue = np.repeat(np.arange(len(counts)), cuts)
    first = (np.arange(len(dialogue)) - np.repeat(np.cumsum(cuts) - cuts, cuts)) * (turns - 1)
    return np.stack([dialogue, first, np.minimum(first + turns, counts[dialogue])], axis=1)


def batches(
    store: TokenStore,
    batch_size: int,
    turns: int,
    generator: np.random.Generator | None = None,
    skip: int = 0,
    openings: bool = False,
) -> Iterator[Batch]:
    """One pass over the store in batches of `batch_size` windows, shuffled where a generator is given, less the
    first `skip` batches (which cost nothing)."""
    cuts = windows(store, turns)
    order = np.arange(len(cuts)) if generator is None else generator.permutation(len(cuts))
    for start in range(skip * batch_size, len(order), batch_size):
        chosen = cuts[order[start : start + batch_size]]
        begins = [openings and first == 0 for _, first, _ in chosen]
        yield _batch_of(store, chosen, begins)


def streams(
    store: TokenStore,
    batch_size: int,
    turns: int,
    generator: np.random.Generator | None = None,
    skip: int = 0,
    openings: bool = False,
) -> Iterator[Batch]:
    """As `batches`, but `batch_size` dialogues run side by side and each goes on in the next batch where it stopped in
    this one, so that its state can be carried over; a dialogue that ends makes room for the next.

    What a dialogue goes on with answers the state it comes with, so every utterance but its first is a response.
    """
    counts = np.diff(store.dialogues)
    order = np.arange(len(counts)) if generator is None else generator.permutation(len(counts))
    waiting = iter(order[counts[order] > (0 if openings else 1)].tolist())
    running: list[tuple[int, int, int]] = []  # dialogue, its next utterance, its row in the batch before
    for place in itertools.count():
        running += [(dialogue, 0, -1) for dialogue in itertools.islice(waiting, batch_size - len(running))]
        if not running:
            return
        running.sort(key=lambda one: one[1] - counts[one[0]] if counts[one[0]] - one[1] < turns else -turns)
        if place >= skip:
            parts = [(dialogue, first, first + turns) for dialogue, first, _ in running]
            batch = _batch_of(store, parts, [openings or first > 0 for _, first, _ in running])
            yield replace(batch, goes_on=torch.tensor([before for *_, before in running]))
        running = [
            (dialogue, first + turns, row)
            for row, (dialogue, first, _) in enumerate(running)
            if first + turns < counts[dialogue]
        ]


def _batch_of(store: TokenStore, parts: Iterable[tuple[int, int, int]], openings: Sequence[bool]) -> Batch:
    """The batch of some dialogues' utterances from a first to a last."""
    dialogues, weights = [], []
    for dialogue, first, last in parts:
        dialogues.append(store[dialogue][first:last])
        if (of_dialogue := store.weights_of(dialogue)) is not None:
            weights.append(of_dialogue[first:last])
    return make_batch(dialogues, openings, weights or None)


def _alive(counts: np.ndarray) -> list[int]:
    """How many of the falling counts reach each step."""
    return [int((counts > step).sum()) for step in range(int(counts.max()))]


def _padded(utterances: Utterances, length: int) -> np.ndarray:
    padded = np.full((len(utterances), length), PAD, dtype=np.int64)
    for row, utterance in zip(padded, utterances, strict=True):
        row[: len(utterance)] = utterance
        row[len(utterance)] = EOS
    return padded


def _shift_right(padded: Tensor) -> Tensor:
    """What the decoder has read before it must say each token."""
    return torch.cat([torch.full((len(padded), 1), BOS), padded[:, :-1]], dim=1)
