"""Dialogues as ids -> batches for one parallel pass, without padding.

Utterances of all dialogues of a batch are sorted, longest first, and packed time-major: step t holds the t-th token of
every utterance that has one. Turns are packed the same way, so that the state tracker runs over all dialogues at once.
Shapes: B dialogues, N utterances, R responses (utterances after a dialogue's first), P and Q packed tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    states: Tensor  # (R,) the packed turn after which each is spoken
    inputs: Tensor  # (Q,) BOS and the words of each response
    targets: Tensor  # (Q,) the words of each response and EOS
    response_sizes: list[int]  # responses alive at each step, sums to Q


def make_batch(dialogues: Sequence[Utterances]) -> Batch:
    """One batch of B dialogues of at least one utterance each."""
    dialogues = sorted(dialogues, key=len, reverse=True)
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
    is_response[place] = False
    turn_of = np.argsort(packed_turns)  # utterance -> its packed turn
    responses = np.flatnonzero(is_response[by_length])
    before = turn_of[by_length[responses] - 1]
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
        states=torch.from_numpy(before),
        inputs=inputs,
        targets=targets,
        response_sizes=response_sizes,
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
    store: TokenStore, batch_size: int, turns: int, generator: np.random.Generator | None = None, skip: int = 0
) -> Iterator[Batch]:
    """One pass over the store in batches of `batch_size` windows, shuffled where a generator is given, less the
    first `skip` batches (which cost nothing)."""
    cuts = windows(store, turns)
    order = np.arange(len(cuts)) if generator is None else generator.permutation(len(cuts))
    for start in range(skip * batch_size, len(order), batch_size):
        chosen = cuts[order[start : start + batch_size]]
        yield make_batch([store[dialogue][first:last] for dialogue, first, last in chosen])


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
