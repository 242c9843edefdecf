"""Which tokens may come next after each live hypothesis, and how likely they are."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from chatbot.decoding.search import Search
from data.vocabulary import EOS, Speech

_GROUP = 16  # columns of a row among which only the largest is looked at first


class Continuations(NamedTuple):
    """The likeliest next tokens of R live hypotheses, likeliest first; -inf where one is forbidden."""

    tokens: np.ndarray  # (R, W) int64
    log_probability: np.ndarray  # (R, W) float64
    log_prior: np.ndarray  # (R, W) float64
    marks: np.ndarray  # (R, 1) int64, the mark by which an end is said; EOS: it needs none


def continuations_of(
    logits: Tensor, prior_logits: Tensor | None, searches: Sequence[Search], speech: Speech
) -> Continuations:
    """The likeliest allowed tokens of R rows (R, V), with the model's own probabilities."""
    log_probability = logits.log_softmax(dim=1)  # (R, V)
    end = log_probability[:, EOS].clone()
    _forbid(log_probability, searches, speech)
    marks = _marks(log_probability, searches, speech)
    values, tokens = largest(log_probability, searches[0].config.breadth or logits.shape[1])  # (R, W)
    nothing_left = values[:, 0] == -math.inf  # a reply at its limit, or one that blocking has painted into a corner
    tokens[nothing_left, 0] = EOS
    values[nothing_left, 0] = end[nothing_left]
    if prior_logits is None:
        return Continuations(tokens.numpy(), values.double().numpy(), np.zeros(values.shape), marks.numpy())
    prior = prior_logits.log_softmax(dim=1).gather(1, tokens)  # twice as fast as logsumexp
    return Continuations(tokens.numpy(), values.double().numpy(), prior.double().numpy(), marks.numpy())


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As `values.topk(count, dim=1)`, several times as fast for a few of many: (R, V) -> (R, W), (R, W).

    The columns are dealt into groups; the W largest lie in the W groups that have the largest maxima.
    """
    rows, width = values.shape
    groups = width // _GROUP
    if count * 4 > groups:
        return values.topk(min(count, width), dim=1)
    dealt = values[:, : groups * _GROUP].unflatten(1, (_GROUP, groups))
    best = dealt.amax(dim=1).topk(count, dim=1, sorted=False).indices  # (R, W)
    columns = (best[:, None] + groups * torch.arange(_GROUP)[:, None]).flatten(1)
    columns = torch.cat([columns, torch.arange(groups * _GROUP, width).expand(rows, -1)], dim=1)  # and those left over
    found, places = values.gather(1, columns).topk(count, dim=1)
    return found, columns.gather(1, places)


def _forbid(logits: Tensor, searches: Sequence[Search], speech: Speech) -> None:
    """Sets to -inf what must not come next; where that is everything, only the end is left."""
    logits[:, list(speech.never)] = -math.inf
    rows: list[int] = []
    tokens: list[int] = []
    full: list[int] = []
    for row, (config, ids) in enumerate((s.config, h.ids) for s in searches for h in s.live):
        blocked = repeating_tokens(ids, config.no_repeat_ngram) | speech.debris.barred(ids)
        if len(ids) + 1 == config.max_tokens:
            blocked |= speech.debris.barred_at_the_end(ids)
        if len(ids) < config.min_tokens:
            blocked.add(EOS)
        elif len(ids) == config.max_tokens:
            full.append(row)
        rows += [row] * len(blocked)
        tokens += blocked
    if rows:
        logits[rows, tokens] = -math.inf
    if full:
        logits[full] = -math.inf


def _marks(log_probability: Tensor, searches: Sequence[Search], speech: Speech) -> Tensor:
    """The likeliest mark of each of R rows whose sentence still lacks one, EOS of the others: (R, V) -> (R, 1)."""
    config, hypotheses = searches[0].config, [hypothesis for search in searches for hypothesis in search.live]
    if not (config.closing_mark and speech.marks):
        return torch.full((len(hypotheses), 1), EOS)
    due = [one.last in speech.words and len(one.ids) < config.max_tokens for one in hypotheses]
    likeliest = torch.tensor(speech.marks)[log_probability[:, speech.marks].argmax(dim=1)]
    return torch.where(torch.tensor(due), likeliest, EOS)[:, None]


def repeating_tokens(ids: tuple[int, ...], n: int) -> set[int]:
    """The last token, and those that would make the last n tokens a repetition; none for n = 0."""
    if n == 0 or not ids:
        return set()
    tail = ids[max(0, len(ids) - n + 1) :]
    return {ids[-1]} | {ids[end] for end in range(n - 1, len(ids)) if ids[end - n + 1 : end] == tail}
