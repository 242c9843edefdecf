"""What is minimised: the cross-entropy of every response's words (of one not to be given, unlikelihood: Welleck et al.,
2020), and a contrast of right and wrong responses.

The softmax over the vocabulary is most of the memory and half of the work of a step, so its rows are taken in chunks
that stay in cache, and each chunk's gradient is taken at once, while its logits exist.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from chatbot.decoding.utterances import encode_utterances
from chatbot.model import HRED
from data.batches import Batch
from data.vocabulary import BOS, UNK
from training.policy import sample, unpacked

Schedule = Literal["linear", "sigmoid"]

_CHUNK = 512  # rows of logits at a time
_OWN_TOKENS, _OWN_TEMPERATURE = 30, 1.0  # of the model's own replies: as lively as people's, so that sense alone tells
_SURE = 1 - 1e-4  # the most that a target not to be given is held for; beyond it its gradient would have no bound


class Losses(NamedTuple):
    total: Tensor  # to minimise, scalar
    entropy: Tensor  # nats a target token, each times its response's weight; scalar, detached
    last_states: Tensor  # (B, S) that the dialogues of the batch end in, detached


@dataclass(frozen=True, slots=True)
class Objective:
    """Shares of what is hidden from the model while it learns, and the weight of the contrast.

    word_dropout hides words the decoder has written (Bowman et al., 2016, section 3.1), so that it leans on the state;
    context_dropout gives a response a zero state, so that one network learns p(y | state) and p(y), as classifier-free
    guidance does for images (Ho & Salimans, 2022);
    reinjection is the share of the decoder's inputs that are its own words at the end of training (scheduled sampling,
    Bengio et al., 2015), reached along `schedule`; in two parallel passes (Duckworth et al., 2019), so cheap;
    relevance_weight weighs telling a response from the others in its batch by the state alone;
    own_replies is the share of responses that are to be told from a reply of the model's own as well. Those are what
    relevance chooses among in a chat: unlike the others' responses they keep to the matter, but not always to sense.
    """

    word_dropout: float = 0.0
    context_dropout: float = 0.0
    relevance_weight: float = 0.0
    own_replies: float = 0.0
    reinjection: float = 0.0
    schedule: Schedule = "linear"

    def __call__(self, model: HRED, batch: Batch, start: Tensor | None = None, progress: float = 1.0) -> Losses:
        """`start` (B, S) are the states that the dialogues come with; `progress` is the share of training done."""
        vectors, states = model.read(batch, start)
        before = states[batch.states]
        given = self._hide_states(before)
        inputs = self._hide_words(self._reinject(model, batch, given, progress))
        readouts = model.write(inputs, batch.response_sizes, given)
        weights = None if batch.weights is None else _of_each_word(batch.weights, batch.response_sizes)
        summed = cross_entropy(readouts, model.embedding.weight, model.output_bias, batch.targets, weights)
        total = entropy = summed / len(batch.targets)
        if self.relevance_weight:
            fit = slice(None) if batch.weights is None else batch.weights > 0
            contrast = _contrast(model, before[fit], vectors[batch.responses[fit]], self.own_replies)
            total = total + self.relevance_weight * contrast
        return Losses(total, entropy.detach(), states[batch.last_states].detach())

    def reinjected_share(self, progress: float) -> float:
        """Of the decoder's inputs: from 0 to `reinjection`, in a line or along an inverse sigmoid's S."""
        if self.schedule == "linear":
            return self.reinjection * progress
        return self.reinjection / (1 + math.exp(-12 * (progress - 0.5)))

    @torch.no_grad()
    def _reinject(self, model: HRED, batch: Batch, states: Tensor, progress: float) -> Tensor:
        """Inputs (Q,), some of them drawn from what the model says there itself, having read the true words so far.

        Only the chosen places need the softmax of the first pass, so it costs a fraction of a step.
        """
        share = self.reinjected_share(progress)
        if not share:
            return batch.inputs
        before = _row_before(batch.response_sizes)
        chosen = ((torch.rand(len(before)) < share) & (batch.inputs != BOS)).nonzero()[:, 0]
        readouts = model.write(batch.inputs, batch.response_sizes, states)
        inputs = batch.inputs.clone()
        for rows in chosen.split(_CHUNK):
            probabilities = model.logits(readouts[before[rows]]).softmax(dim=1)
            inputs[rows] = probabilities.multinomial(1)[:, 0]
        return inputs

    def _hide_words(self, inputs: Tensor) -> Tensor:
        hidden = (torch.rand(inputs.shape) < self.word_dropout) & (inputs != BOS)
        return inputs.masked_fill(hidden, UNK)

    def _hide_states(self, states: Tensor) -> Tensor:
        return states * (torch.rand(len(states), 1) >= self.context_dropout).to(states.dtype)


def distillation(model: HRED, teacher: HRED, batch: Batch, relevance_weight: float = 0.0) -> Losses:
    """How far the model is from saying what its teacher says at the words of a batch (Hinton et al., 2015), so that
    learning goes on without forgetting (Li & Hoiem, 2016); with a weight, also from telling right responses from wrong
    ones. The teacher may know fewer words, the first ones.

    Of a large batch some words are drawn: the softmax is most of the work, and a model near its teacher has little to
    hear from any of them.
    """
    vectors, states = model.read(batch)
    before = states[batch.states]
    rows = torch.randperm(len(batch.targets))[:_CHUNK]
    readouts = model.write(batch.inputs, batch.response_sizes, before)[rows]
    with torch.no_grad():
        _, taught = teacher.read(batch)
        heard = teacher.write(batch.inputs, batch.response_sizes, taught[batch.states])[rows]
        wanted = teacher.logits(heard).softmax(dim=1)
    said = model.logits(readouts).log_softmax(dim=1)[:, : wanted.shape[1]]
    total = entropy = -(wanted * said).sum() / len(rows)
    if relevance_weight:
        total = total + relevance_weight * _contrast(model, before, vectors[batch.responses])
    return Losses(total, entropy.detach(), states[batch.last_states].detach())


def _row_before(sizes: list[int]) -> Tensor:
    """The packed row at which the same sequence's word before stands; of first words, themselves: (Q,)."""
    back = torch.tensor([0, *sizes[:-1]]).repeat_interleave(torch.tensor(sizes))
    return torch.arange(len(back)) - back


def _of_each_word(of_responses: Tensor, sizes: list[int]) -> Tensor:
    """What holds of each response (R,), for each of its packed words (Q,)."""
    return torch.cat([of_responses[:size] for size in sizes]) if sizes else of_responses[:0]


def cross_entropy(
    readouts: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Sum of -log softmax(readouts @ weight.T + bias)[targets] in nats: (Q, E), (V, E), (V,), (Q,) -> scalar.

    `weights` (Q,) weigh its terms; one below 0 weighs -log(1 - p) instead, so that the target becomes unlikely.
    """
    total: Tensor = _ChunkedCrossEntropy.apply(readouts, weight, bias, targets, weights)
    return total


def _contrast(model: HRED, states: Tensor, vectors: Tensor, share_of_own: float = 0.0) -> Tensor:
    """Mean cross-entropy of picking each state's own response among the R of the batch and, with a share of the states,
    that of picking it of two, the other being what the model itself would say there."""
    if not len(states):
        return states.new_zeros(())
    queries = model.relevance_query(states)
    scores = (queries @ vectors.T).float()  # (R, R)
    loss = F.cross_entropy(scores, torch.arange(len(scores)))
    chosen = (torch.rand(len(states)) < share_of_own).nonzero()[:, 0]
    if not len(chosen):
        return loss
    own = own_replies(model, states[chosen])
    lead = scores.diagonal()[chosen] - (queries[chosen] * own).sum(dim=1).float()
    return loss - F.logsigmoid(lead).mean()


def own_replies(model: HRED, states: Tensor) -> Tensor:
    """The utterance vectors (N, D) of what the model would say in the states (N, S); its words pass no gradient."""
    return encode_utterances(model, unpacked(sample(model, states.detach(), _OWN_TOKENS, _OWN_TEMPERATURE)))


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, readouts, weight, bias, targets, weights):  # type: ignore[no-untyped-def]
        small = weight.to(readouts.dtype)
        wanted = any(ctx.needs_input_grad)
        d_readouts = torch.empty_like(readouts)
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(targets), _CHUNK):
            rows = slice(start, start + _CHUNK)
            log_probability = F.log_softmax((readouts[rows] @ small.T).float() + bias, dim=1)
            target = targets[rows, None]
            right = log_probability.gather(1, target)
            loss, scale = (-right, None) if weights is None else _weighed(right, weights[rows, None])
            total += loss.sum()
            if wanted:
                d_logits = log_probability.exp_()
                d_logits.scatter_add_(1, target, d_logits.new_full(target.shape, -1.0))
                if scale is not None:
                    d_logits *= scale
                d_bias += d_logits.sum(0)
                d_logits = d_logits.to(readouts.dtype)
                torch.mm(d_logits, small, out=d_readouts[rows])
                d_weight += d_logits.T @ readouts[rows]
        ctx.save_for_backward(d_readouts, d_weight, d_bias)
        return total.to(bias.dtype)

    @staticmethod
    def backward(ctx, d_total):  # type: ignore[no-untyped-def]
        d_readouts, d_weight, d_bias = ctx.saved_tensors
        return d_readouts * d_total.to(d_readouts.dtype), d_weight * d_total, d_bias * d_total, None, None


def _weighed(right: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each target, and what the gradient of its -log p is to be multiplied by, of log p and weights.

    The gradient of -log(1 - p) is -p / (1 - p) times that of -log p.
    """
    p = right.exp().clamp(max=_SURE)
    unlikely = weights < 0
    loss = torch.where(unlikely, weights * torch.log1p(-p), -weights * right)
    return loss, torch.where(unlikely, weights * p / (1 - p), weights)
