"""n-gram language models, the paper's first baselines: interpolated modified Kneser-Ney and Witten-Bell.

Chen and Goodman (1999), "An empirical study of smoothing techniques for language modeling". No library would do: nltk
counts a word's continuations anew each time it is asked (130 ms a word after 100,000 tokens) and kenlm's package for
Python only reads models. Here the counts are arrays, and a million tokens take seconds.
Shapes: P positions of a text, G different n-grams of an order, H of the order below.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from data.store import TokenStore
from data.vocabulary import BOS, EOS

Smoothing = Literal["kneser-ney", "witten-bell"]
History = Literal["utterance", "dialogue"]  # whether what was said before an utterance is a history of its words

_NEVER_SAID = 2  # ids of the vocabulary, PAD and BOS
_DISCOUNTS = np.array([0.5, 1.0, 1.5])  # where a corpus is too small to estimate them


@dataclass(frozen=True, slots=True)
class Text:
    """Sequences end to end, each behind a BOS: `tokens` (P,), and how many stand before each in its sequence (P,)."""

    tokens: np.ndarray
    depth: np.ndarray

    @classmethod
    def of(cls, sequences: Iterable[np.ndarray]) -> "Text":
        """From the ids of at least one sequence, without BOS."""
        opened = [np.concatenate([[BOS], sequence]) for sequence in sequences]
        return cls(np.concatenate(opened).astype(np.int64), np.concatenate([np.arange(len(one)) for one in opened]))

    @classmethod
    def of_store(cls, store: TokenStore, history: History) -> "Text":
        """The utterances of a store, each closed by EOS; with `dialogue`, those of a dialogue are one sequence."""
        closed = ([np.append(utterance, EOS) for utterance in store[place]] for place in range(len(store)))
        if history == "dialogue":
            return cls.of(np.concatenate(dialogue) for dialogue in closed)
        return cls.of(utterance for dialogue in closed for utterance in dialogue)


@dataclass(frozen=True, slots=True)
class Level:
    """One order: p_n(w | h) = share(h w) + left(h) p_(n-1)(w | h without its first word).

    `keys` (G,), rising, name the n-grams: the number of h among the n-grams of the order below, times V, plus w.
    """

    keys: np.ndarray
    share: np.ndarray  # (G,)
    left: np.ndarray  # (H,)


class NGramModel:
    """p(w | the order - 1 words before it), learned from a text; over the words of the vocabulary it sums to 1."""

    def __init__(self, text: Text, order: int, vocabulary_size: int, smoothing: Smoothing) -> None:
        self.order, self._words = order, vocabulary_size
        counts = _counts(text, order, vocabulary_size, of_continuations=smoothing == "kneser-ney")
        weigh = _kneser_ney if smoothing == "kneser-ney" else _witten_bell
        self._levels: list[Level] = []
        size = 1  # of the order below: the empty history
        for keys, count in counts:
            self._levels.append(Level(keys, *weigh(count, keys // vocabulary_size, size)))
            size = len(keys)

    def nats(self, text: Text) -> np.ndarray:
        """- log p of every token of a text but its BOS, in order."""
        probability = np.full(len(text.tokens), 1 / (self._words - _NEVER_SAID))
        numbers = text.tokens
        for n, level in enumerate(self._levels, 1):
            history = _histories(text, numbers, n)
            numbers = _find(level.keys, _names(text, history, self._words))
            share, left = (np.append(part, rest) for part, rest in ((level.share, 0.0), (level.left, 1.0)))
            probability = share[numbers] + left[history] * probability  # -1, what is unknown, is the last
        return -np.log(probability[text.depth > 0])


def fit_best(
    train: TokenStore, validation: TokenStore, vocabulary_size: int, smoothing: Smoothing, orders: Iterable[int]
) -> tuple[NGramModel, History, float]:
    """Of every order, with the dialogue as history or without, the model that foretells `validation` best; its
    history; its perplexity there."""
    histories: tuple[History, ...] = ("utterance", "dialogue")
    texts = {history: [Text.of_store(store, history) for store in (train, validation)] for history in histories}
    found = []
    for history, order in product(histories, orders):
        learned, judged = texts[history]
        model = NGramModel(learned, order, vocabulary_size, smoothing)
        found.append((model, history, float(np.exp(model.nats(judged).mean()))))
    return min(found, key=lambda one: one[2])


def _counts(text: Text, order: int, words: int, of_continuations: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Keys and counts of the n-grams of each order, 1 to `order`.

    Continuations of an n-gram are the different words before it. Kneser-Ney counts them in place of occurrences, but
    not in the highest order, nor where an n-gram begins with BOS, before which nothing can be.
    """
    keys: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    numbers, opens = text.tokens, np.zeros(0, bool)
    for n in range(1, order + 1):
        names = _names(text, _histories(text, numbers, n), words)
        places = np.flatnonzero(names >= 0)
        different, first, occurrences = np.unique(names[places], return_index=True, return_counts=True)
        if n == 1:
            occurrences[different == BOS] = 0  # a history, but never said
        elif of_continuations:
            continued = np.bincount(numbers[places[first]], minlength=len(keys[-1]))
            counts[-1] = np.where(opens, counts[-1], continued)
        opens = text.depth[places[first]] == n - 1
        numbers = _find(different, names)
        keys.append(different)
        counts.append(occurrences)
    return list(zip(keys, counts, strict=True))


def _kneser_ney(counts: np.ndarray, histories: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Takes a discount off every count and leaves their sum to the order below (section 3): share (G,), left (H,)."""
    taken = np.append(0.0, _discounts(counts))[np.minimum(counts, 3)]
    total = np.bincount(histories, counts, size)
    return (counts - taken) / total[histories], _part(np.bincount(histories, taken, size), total)


def _witten_bell(counts: np.ndarray, histories: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Leaves the order below as many counts as different words have followed a history (section 2.6)."""
    kinds = np.bincount(histories, counts > 0, size)
    total = np.bincount(histories, counts, size) + kinds
    return counts / total[histories], _part(kinds, total)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Of n-grams counted once, twice, and three times or more, from the counts of counts (section 3, equation 26)."""
    once, *_ = of = [int((counts == times).sum()) for times in range(1, 5)]
    if 0 in of:
        return _DISCOUNTS
    share = once / (once + 2 * of[1])
    estimated = np.array([times - (times + 1) * share * of[times] / of[times - 1] for times in (1, 2, 3)])
    return estimated if (estimated >= 0).all() else _DISCOUNTS


def _part(some: np.ndarray, of: np.ndarray) -> np.ndarray:
    """some / of, and 1 where a history was followed by nothing."""
    return np.divide(some, of, out=np.ones(len(of)), where=of > 0)


def _histories(text: Text, numbers: np.ndarray, n: int) -> np.ndarray:
    """The number of the n - 1 tokens before each position, -1 where they are too few or unknown; (P,) -> (P,)."""
    return np.where(text.depth >= n - 1, np.roll(numbers, 1), -1) if n > 1 else np.zeros_like(numbers)


def _names(text: Text, histories: np.ndarray, words: int) -> np.ndarray:
    """The key of the n-gram at each position, -1 where its history is unknown: (P,)."""
    return np.where(histories >= 0, histories * words + text.tokens, -1)


def _find(keys: np.ndarray, names: np.ndarray) -> np.ndarray:
    """The place of each name among the keys, or -1."""
    places = np.minimum(np.searchsorted(keys, names), len(keys) - 1)
    return np.where(keys[places] == names, places, -1)
