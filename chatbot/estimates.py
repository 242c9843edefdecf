"""A figure and how sure it is."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 1_000


class Estimate(NamedTuple):
    """A figure and its 95 % interval; the interval is None where there is but one dialogue."""

    value: float
    interval: tuple[float, float] | None


def estimate(
    counted: Sequence[float] | np.ndarray,
    of: Sequence[float] | np.ndarray,
    dialogues: Sequence[int] | np.ndarray,
    scale: Callable[[Any], Any] = float,
) -> Estimate | None:
    """`scale` of sum(counted) / sum(of), each given a response or reply; `dialogues` names the dialogue of each.

    Responses of one dialogue are alike, so it is dialogues that are drawn anew, with replacement, RESAMPLES times; the
    middle 95 % of the figures is the interval (Efron's percentile bootstrap). None where `of` sums to nothing.
    """
    _, place = np.unique(dialogues, return_inverse=True)
    counted, of = np.bincount(place, weights=counted), np.bincount(place, weights=of)  # (D,)
    if not of.sum():
        return None
    value = float(scale(counted.sum() / of.sum()))
    if len(of) < 2:
        return Estimate(value, None)
    random = np.random.default_rng(0)
    drawn = (random.integers(0, len(of), len(of)) for _ in range(RESAMPLES))
    figures = [float(scale(counted[chosen].sum() / of[chosen].sum())) for chosen in drawn]
    low, high = np.percentile(figures, (2.5, 97.5))
    return Estimate(value, (float(low), float(high)))
