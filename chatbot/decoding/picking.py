"""Which of their continuations the live hypotheses take: the likeliest, a sample, or those of a beam."""

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np

from chatbot.decoding.continuations import Continuations
from chatbot.decoding.search import Pick, Search, row_blocks
from chatbot.reply import DecodingConfig

Picked = tuple[np.ndarray, np.ndarray, list[int]]  # rows (Q,), columns (Q,) and how many of them each search has


def pick(searches: Sequence[Search], continuations: Continuations) -> list[list[Pick]]:
    """How searches of one config go on, rows counted from the first of each.

    Raises FloatingPointError where the model's probabilities are not numbers.
    """
    if np.isnan(continuations.log_probability).any():
        raise FloatingPointError("the model's probabilities are not numbers: its checkpoint is broken")
    by = {"greedy": _likeliest, "beam": _beam, "sample": _sample}[searches[0].config.method]
    rows, columns, counts = by(searches, continuations)
    starts = np.repeat([block.start for block in row_blocks(searches)], counts)
    *of_tokens, marks = continuations
    parts = (rows - starts, *(part[rows, columns] for part in of_tokens), marks[rows, 0])
    every = map(Pick._make, zip(*(part.tolist() for part in parts), strict=True))
    return [list(islice(every, count)) for count in counts]


def _likeliest(searches: Sequence[Search], continuations: Continuations) -> Picked:
    rows = np.arange(len(continuations.tokens))
    return rows, np.zeros_like(rows), [1] * len(searches)


def _sample(searches: Sequence[Search], continuations: Continuations) -> Picked:
    """One token a live row; a search's first step draws all its candidates from its only row."""
    config = searches[0].config
    counts = [len(search.live) if search.live[0].ids else config.candidates for search in searches]
    repeats = [1 if search.live[0].ids else config.candidates for search in searches for _ in search.live]
    rows = np.repeat(np.arange(len(repeats)), repeats)
    cumulative = sampling_probabilities(continuations.log_probability, config).cumsum(axis=1)[rows]
    draws = np.concatenate([search.random.random(count) for search, count in zip(searches, counts, strict=True)])
    return rows, (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(axis=1), counts


def _beam(searches: Sequence[Search], continuations: Continuations) -> Picked:
    """The 2K best extensions over all rows of a search: enough for K live ones even where K of them end."""
    stems = np.array([hypothesis.log_probability for search in searches for hypothesis in search.live])
    totals = stems[:, None] + continuations.log_probability  # (R, W)
    found = []
    for block in row_blocks(searches):
        best = np.argsort(-totals[block], axis=None, kind="stable")[: 2 * searches[0].config.beam_size]
        best = best[totals[block].flat[best] > -math.inf] + block.start * totals.shape[1]
        found.append(best)
    rows, columns = np.divmod(np.concatenate(found), totals.shape[1])
    return rows, columns, [len(best) for best in found]


def sampling_probabilities(log_probability: np.ndarray, config: DecodingConfig) -> np.ndarray:
    """(R, W) log-probabilities in falling order -> (R, W) probabilities to sample from, each row's sum 1.

    The temperature first, then the k likeliest, then the fewest of them that hold `top_p` of what is left.
    """
    scaled = log_probability[:, : config.top_k or None] / config.temperature
    weights = np.exp(scaled - scaled[:, :1])
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    before = probabilities.cumsum(axis=1) - probabilities
    kept = np.where(before < config.top_p, probabilities, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)
