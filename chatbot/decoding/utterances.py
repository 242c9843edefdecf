"""Whole utterances: their vectors, and the log-probabilities that they have."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from chatbot.decoding.network import Model
from data.batches import pack
from data.vocabulary import BOS, EOS, PAD

_FORCED = 16  # utterances whose logits exist at once
_HEARD = 128  # utterances that are encoded at once


def encode_utterances(model: Model, utterances: Sequence[Sequence[int]]) -> Tensor:
    """Ids of N utterances, without EOS -> utterance vectors (N, D)."""
    parts = range(0, len(utterances), _HEARD)
    return torch.cat([model.encode(*closed(utterances[start : start + _HEARD])) for start in parts])


@torch.no_grad()
def log_probabilities(model: Model, states: Tensor, utterances: Sequence[Sequence[int]]) -> Tensor:
    """log p(y | s) of N utterances in nats, their ends included, in parallel: (N, S) -> (N,)."""
    parts = range(0, len(utterances), _FORCED)
    return torch.cat(
        [_forced(model, states[start : start + _FORCED], utterances[start : start + _FORCED]) for start in parts]
    )


def _forced(model: Model, states: Tensor, utterances: Sequence[Sequence[int]]) -> Tensor:
    targets, lengths = closed(utterances)
    lengths, order = lengths.sort(descending=True, stable=True)
    targets = targets[order]
    inputs = torch.cat([torch.full((len(targets), 1), BOS), targets[:, :-1]], dim=1)
    (words, _, sizes), (wanted, _, _) = pack(inputs, lengths), pack(targets, lengths)
    nats = cross_entropy(model.logits(model.write(words, sizes, states[order])), wanted, reduction="none")
    owners = order[torch.cat([torch.arange(size) for size in sizes])]
    return -torch.zeros(len(order)).index_add_(0, owners, nats)


def closed(utterances: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids of N utterances, without EOS -> padded and closed by EOS (N, T), lengths that count it (N,)."""
    lengths = torch.tensor([len(ids) + 1 for ids in utterances])
    padded = torch.full((len(utterances), int(lengths.max())), PAD)
    for row, ids in enumerate(utterances):
        padded[row, : len(ids) + 1] = torch.tensor([*ids, EOS])
    return padded, lengths
