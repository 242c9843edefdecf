"""What is minimised: the cross-entropy of every response's words, and a contrast of right and wrong responses.

The softmax over the vocabulary is most of the memory and half of the work of a step, so its rows are taken in chunks
that stay in cache, and each chunk's gradient is taken at once, while its logits exist.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from chatbot.model import HRED
from data.batches import Batch
from data.vocabulary import BOS, UNK

_CHUNK = 512  # rows of logits at a time


@dataclass(frozen=True, slots=True)
class Objective:
    """Shares of what is hidden from the model while it learns, and the weight of the contrast.

    word_dropout hides words the decoder has written (Bowman et al., 2016), so that it leans on the state;
    context_dropout gives a response a zero state, so that one network learns p(y | state) and p(y);
    relevance_weight weighs telling a response from the others in its batch by the state alone.
    """

    word_dropout: float = 0.0
    context_dropout: float = 0.0
    relevance_weight: float = 0.0

    def __call__(self, model: HRED, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to minimise (scalar), and the cross-entropy in nats a target token, detached."""
        vectors, states = model.read(batch)
        before = states[batch.states]
        readouts = model.write(self._hide_words(batch.inputs), batch.response_sizes, self._hide_states(before))
        entropy = cross_entropy(readouts, model.embedding.weight, model.output_bias, batch.targets) / len(batch.targets)
        loss = entropy
        if self.relevance_weight:
            loss = loss + self.relevance_weight * _contrast(model, before, vectors[batch.responses])
        return loss, entropy.detach()

    def _hide_words(self, inputs: Tensor) -> Tensor:
        hidden = (torch.rand(inputs.shape) < self.word_dropout) & (inputs != BOS)
        return inputs.masked_fill(hidden, UNK)

    def _hide_states(self, states: Tensor) -> Tensor:
        return states * (torch.rand(len(states), 1) >= self.context_dropout).to(states.dtype)


def cross_entropy(readouts: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log softmax(readouts @ weight.T + bias)[targets] in nats: (Q, E), (V, E), (V,), (Q,) -> scalar."""
    total: Tensor = _ChunkedCrossEntropy.apply(readouts, weight, bias, targets)
    return total


def _contrast(model: HRED, states: Tensor, vectors: Tensor) -> Tensor:
    """Mean cross-entropy of picking each state's own response among the R of the batch."""
    scores = (model.relevance_query(states) @ vectors.T).float()  # (R, R)
    return F.cross_entropy(scores, torch.arange(len(scores)))


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, readouts, weight, bias, targets):  # type: ignore[no-untyped-def]
        small = weight.to(readouts.dtype)
        wanted = any(ctx.needs_input_grad)
        d_readouts = torch.empty_like(readouts)
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(targets), _CHUNK):
            rows = slice(start, start + _CHUNK)
            log_probability = F.log_softmax((readouts[rows] @ small.T).float() + bias, dim=1)
            target = targets[rows, None]
            total -= log_probability.gather(1, target).sum()
            if wanted:
                d_logits = log_probability.exp_()
                d_logits.scatter_add_(1, target, d_logits.new_full(target.shape, -1.0))
                d_bias += d_logits.sum(0)
                d_logits = d_logits.to(readouts.dtype)
                torch.mm(d_logits, small, out=d_readouts[rows])
                d_weight += d_logits.T @ readouts[rows]
        ctx.save_for_backward(d_readouts, d_weight, d_bias)
        return total.to(bias.dtype)

    @staticmethod
    def backward(ctx, d_total):  # type: ignore[no-untyped-def]
        d_readouts, d_weight, d_bias = ctx.saved_tensors
        return d_readouts * d_total.to(d_readouts.dtype), d_weight * d_total, d_bias * d_total, None
