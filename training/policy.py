"""A model that talks as a policy that acts: its samples, and the gradient that makes the rewarded ones likelier.

The policy is the model's distribution at a temperature, softmax(logits / temperature): below 1 it acts more as the
model talks when it says what is likeliest, which is where its dullness shows.
Shapes: R replies, Q packed tokens, T tokens, E embedding, S state, V vocabulary.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recomputed

from chatbot.model import HRED
from data.batches import pack
from data.vocabulary import BOS, EOS, PAD

_CHUNK = 512  # rows of logits at a time


class Replies(NamedTuple):
    """Sampled replies, packed, longest first."""

    inputs: Tensor  # (Q,) BOS and the words
    targets: Tensor  # (Q,) the words and EOS, but for those cut at the limit
    sizes: list[int]  # replies alive at each step, sums to Q
    order: Tensor  # (R,) the state that each was sampled from


@torch.no_grad()
def sample(model: HRED, states: Tensor, max_tokens: int, temperature: float = 1.0) -> Replies:
    """One reply a state (R, S), drawn word by word from the policy, all rows at once; at 0 the likeliest words."""
    ids = torch.full((len(states), max_tokens), PAD)
    alive, last = torch.arange(len(states)), torch.full((len(states),), BOS)
    memory = model.start_decoding(states)
    for place in range(max_tokens):
        logits, memory = model.decode_step(last, memory, states[alive])
        last = ids[alive, place] = _draw(logits, temperature)
        going = last != EOS
        alive, last, memory = alive[going], last[going], memory[going]
        if not len(alive):
            break
    lengths, order = (ids != PAD).sum(dim=1).sort(descending=True, stable=True)
    ids = ids[order]
    before = torch.cat([torch.full((len(ids), 1), BOS), ids[:, :-1]], dim=1)
    targets, _, sizes = pack(ids, lengths)
    return Replies(pack(before, lengths)[0], targets, sizes, order)


def _draw(logits: Tensor, temperature: float) -> Tensor:
    """One token a row: (N, V) -> (N,). By inverting the distribution function: one random number a row, not V."""
    logits[:, [PAD, BOS]] = -math.inf  # no text holds them
    if temperature == 0:
        return logits.argmax(dim=1)
    cumulative = (logits / temperature).softmax(dim=1).cumsum(dim=1)
    thresholds = torch.rand(len(logits), 1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def unpacked(replies: Replies) -> list[list[int]]:
    """The words of each reply, without EOS, in the order of the states."""
    rows = torch.cat([torch.arange(size) for size in replies.sizes])
    spoken: list[list[int]] = [[] for _ in replies.order]
    for row, token in zip(replies.order[rows].tolist(), replies.targets.tolist(), strict=True):
        if token != EOS:
            spoken[row].append(token)
    return spoken


def log_probability(model: HRED, readouts: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """log of the policy's probability of each target, with its gradient: (Q, E), (Q,) -> (Q,).

    Logits exist for a chunk of rows at a time.
    """

    def of(rows: Tensor, wanted: Tensor) -> Tensor:
        return -F.cross_entropy(model.logits(rows) / temperature, wanted, reduction="none")

    chunks = zip(readouts.split(_CHUNK), targets.split(_CHUNK), strict=True)
    return torch.cat([recomputed(of, rows, wanted, use_reentrant=False) for rows, wanted in chunks])


def policy_loss(
    model: HRED, critic: nn.Module, states: Tensor, replies: Replies, rewards: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """REINFORCE with a learned baseline (section 3.1): what to minimise for the model, and for the critic.

    Each word counts by how much more reward (Q,) it got than the critic foretold from what the decoder knew before it;
    `states` (R, S) and the temperature are those the replies were sampled from and at.
    """
    readouts = model.write(replies.inputs, replies.sizes, states[replies.order])
    foretold = critic(readouts.detach().float())[:, 0]
    better = rewards - foretold.detach()
    loss = -(better * log_probability(model, readouts, replies.targets, temperature)).mean()
    return loss, F.mse_loss(foretold, rewards)


def make_critic(embedding_size: int) -> nn.Module:
    """The reward to be expected for a word, from the decoder's readout before it: (Q, E) -> (Q, 1)."""
    return nn.Sequential(nn.Linear(embedding_size, 128), nn.Tanh(), nn.Linear(128, 1))
