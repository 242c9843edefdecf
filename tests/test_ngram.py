"""n-grams against the definitions, counted word by word, and against nltk."""

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from nltk.lm import WittenBellInterpolated
from nltk.util import everygrams

from data.store import StoreWriter, TokenStore
from data.vocabulary import BOS, EOS, UNK
from training.ngram import NGramModel, Smoothing, Text, fit_best

WORDS = 9
SAID = [word for word in range(WORDS) if word not in (0, BOS)]


@cache
def sequences(seed: int, count: int = 60) -> list[np.ndarray]:
    """Of words that depend on one another, so that counts differ; word 8 is rare."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        words = [UNK]
        while len(words) < 9 and random.random() < 0.85:
            words.append(4 + (words[-1] + int(random.integers(0, 3))) % 4 if random.random() < 0.97 else 8)
        found.append(np.array([*words[1:], EOS]))
    return found


def occurrences(n: int) -> Counter[tuple[int, ...]]:
    """Of the n-grams of the text learned from."""
    opened = [[BOS, *sequence.tolist()] for sequence in sequences(0)]
    return Counter(tuple(one[end - n : end]) for one in opened for end in range(max(n, 2), len(one) + 1))


@cache
def counts_of(n: int, order: int, smoothing: Smoothing) -> dict[tuple[int, ...], int]:
    counts = occurrences(n)
    if n == order or smoothing == "witten-bell":
        return counts
    longer = occurrences(n + 1)
    return {
        ngram: count if ngram[0] == BOS else sum(other[1:] == ngram for other in longer)
        for ngram, count in counts.items()
    }


def discounts(counts: dict[tuple[int, ...], int]) -> list[float]:
    n1, n2, n3, n4 = (sum(count == times for count in counts.values()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return [0, 0.5, 1, 1.5]
    y = n1 / (n1 + 2 * n2)
    found = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return found if min(found) >= 0 else [0, 0.5, 1, 1.5]


def by_the_book(order: int, smoothing: Smoothing, history: tuple[int, ...], word: int) -> float:
    """p(word | history) by the equations, one n-gram at a time."""
    history = history[max(0, len(history) - order + 1) :]
    n = len(history) + 1
    below = by_the_book(order, smoothing, history[1:], word) if history else 1 / len(SAID)
    counts = counts_of(n, order, smoothing)
    followed = {ngram: count for ngram, count in counts.items() if ngram[:-1] == history}
    total, count = sum(followed.values()), counts.get((*history, word), 0)
    if not total:
        return below
    if smoothing == "witten-bell":
        return (count + len(followed) * below) / (total + len(followed))
    discount = discounts(counts)
    left = sum(discount[min(other, 3)] for other in followed.values())
    return (count - discount[min(count, 3)] + left * below) / total


@pytest.mark.parametrize("smoothing", ["kneser-ney", "witten-bell"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_equations(smoothing: Smoothing, order: int):
    learned, judged = sequences(0), sequences(1, count=12)
    nats = NGramModel(Text.of(learned), order, WORDS, smoothing).nats(Text.of(judged))
    expected = [
        -math.log(by_the_book(order, smoothing, (BOS, *sequence[:place].tolist()), int(word)))
        for sequence in judged
        for place, word in enumerate(sequence)
    ]
    assert nats == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", ["kneser-ney", "witten-bell"])
@pytest.mark.parametrize("history", [[], [4], [8, 8], [5, 6, 7], [UNK, 8, 4, 5]])
def test_probabilities_of_all_words_sum_to_one(smoothing: Smoothing, history: list[int]):
    model = NGramModel(Text.of(sequences(0)), 4, WORDS, smoothing)
    last = np.cumsum([len(history) + 1] * len(SAID)) - 1
    nats = model.nats(Text.of([np.array([*history, word]) for word in SAID]))
    assert np.exp(-nats[last]).sum() == pytest.approx(1)


def test_witten_bell_is_that_of_nltk():
    theirs = WittenBellInterpolated(3)
    # Their unigrams leave nothing to words that were never seen.
    theirs.estimator.unigram_score = lambda word: by_the_book(3, "witten-bell", (), int(word))
    opened, judged = ([[str(BOS), *map(str, one)] for one in sequences(seed)] for seed in (0, 1))
    theirs.fit([everygrams(one, max_len=3) for one in opened], vocabulary_text=map(str, range(WORDS)))
    expected = [theirs.score(one[end], one[max(0, end - 2) : end]) for one in judged for end in range(1, len(one))]
    nats = NGramModel(Text.of(sequences(0)), 3, WORDS, "witten-bell").nats(Text.of(sequences(1)))
    assert np.exp(-nats) == pytest.approx(expected)


def stored(folder, dialogues: list[list[list[int]]]) -> TokenStore:
    with StoreWriter(folder) as writer:
        for dialogue in dialogues:
            tokens = np.array([word for utterance in dialogue for word in utterance])
            writer.extend(tokens, np.array([len(utterance) for utterance in dialogue]), np.array([len(dialogue)]))
    return TokenStore.open(folder)


def test_the_history_and_the_order_are_those_that_foretell_validation_best(tmp_path):
    random = np.random.default_rng(0)
    echoes = [[[int(word)], [int(word)]] for word in random.integers(4, WORDS, 200)]
    train, validation = stored(tmp_path / "train", echoes[:150]), stored(tmp_path / "validation", echoes[150:])
    model, history, perplexity = fit_best(train, validation, WORDS, "witten-bell", orders=(2, 3))
    assert (model.order, history) == (3, "dialogue")
    nats = model.nats(Text.of_store(validation, "dialogue"))
    assert perplexity == pytest.approx(math.exp(nats.mean()))
    assert len(nats) == 50 * 4  # two words and two ends a dialogue
