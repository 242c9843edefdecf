"""A linear classifier over hashed words and pieces of words: of which kind an utterance is that the model must not
answer. It is trained by `python -m training.safety`."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import NamedTuple, Self
from zlib import crc32

import numpy as np
from safetensors.numpy import load_file

from chatbot.safety.lexicon import classes_of
from chatbot.safety.phrases import phrases_in, sure_category
from chatbot.safety.wording import spans

NONE = "none"
CATEGORIES = ("suicide", "violence", "abuse", "minor", "emergency", "dosage", "human")
BUCKETS = 1 << 17
WEIGHTS = Path(__file__).with_name("weights.safetensors")
_EDGE = "|"
_PHRASE_WEIGHT = 3  # how often a phrase counts, where a word counts once
_CHANCE = 2.0  # nats off a margin for each e-fold of parts
_PLAIN = frozenset(
    ("i", "my", "me", "you", "your", "he", "she", "they", "we", "is", "are", "do", "not", "am", "want", "how", "what")
)


class Verdict(NamedTuple):
    """The category that fits best besides NONE, and by how many nats all of them together fit better than NONE."""

    category: str
    margin: float


class Classifier:
    def __init__(self, weights: np.ndarray, scale: np.ndarray, bias: np.ndarray, threshold: float) -> None:
        """`weights` (BUCKETS, categories) int8, `scale` and `bias` (categories); a margin above the `threshold` counts
        as found."""
        self.weights, self.scale, self.bias, self.threshold = weights, scale, bias, threshold

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Self:
        stored = load_file(path)
        return cls(stored["weights"], stored["scale"], stored["bias"], float(stored["threshold"]))

    def judge(self, text: str) -> Verdict:
        """Of the part of the text that is the most dangerous; the more parts it has, the more likely one looks so."""
        parts = spans(text)
        found = max(map(self.judge_part, parts), key=lambda one: one.margin, default=_NOTHING)
        return found._replace(margin=found.margin - _CHANCE * np.log(max(1, len(parts))))

    def category_of(self, text: str, threshold: float | None = None) -> str | None:
        """None where it is below the threshold and no phrase is in it that leaves no doubt."""
        if sure := next(filter(None, (sure_category(" ".join(part)) for part in spans(text))), None):
            return sure
        verdict = self.judge(text)
        return verdict.category if verdict.margin > (self.threshold if threshold is None else threshold) else None

    def judge_part(self, part: Sequence[str]) -> Verdict:
        found = buckets(part)
        scores = self.weights[found].sum(0, dtype=np.int32) * (self.scale / np.sqrt(len(found))) + self.bias
        return Verdict(CATEGORIES[int(scores.argmax())], float(np.logaddexp.reduce(scores)))


_NOTHING = Verdict(NONE, -np.inf)


@cache
def classifier() -> Classifier:
    """The shipped one."""
    return Classifier.load()


def buckets(part: Sequence[str]) -> np.ndarray:
    """Where the features of some words stand among the weights."""
    return np.fromiter({crc32(feature.encode()) % BUCKETS for feature in _features(part)}, np.int64)


def _features(part: Sequence[str]) -> Iterator[str]:
    sized = [_EDGE, *map(_sized, part), _EDGE]
    for length in (1, 2, 3):
        for start in range(len(sized) - length + 1):
            yield " ".join(sized[start : start + length])
    for gap in (2, 3):
        for one, other in zip(sized, sized[gap:], strict=False):
            yield f"{one} .. {other}"
    yield from _letters(part)
    yield from (f"{name}:{copy}" for name in phrases_in(" ".join(part)) for copy in range(_PHRASE_WEIGHT))
    yield from _meanings(part, sized)


def _letters(part: Sequence[str]) -> Iterator[str]:
    """Pieces of words, by which a misspelt word is known."""
    for word in set(part):
        marked = f"<{word}>"
        for length in (2, 3, 4, 5):
            for start in range(len(marked) - length + 1):
                yield f"#{marked[start : start + length]}"


def _meanings(part: Sequence[str], sized: Sequence[str]) -> Iterator[str]:
    """Words in a row with classes in the place of some of them, and which classes there are beside which."""
    choices = [(word, *(f"@{name}" for name in classes_of(word))) for word in (_EDGE, *part, _EDGE)]
    for length in (1, 2, 3):
        for start in range(len(choices) - length + 1):
            rows = product(*choices[start : start + length])
            yield from (" ".join(row) for row in rows if any(word[0] == "@" for word in row))
    for start in range(len(choices) - 3):
        yield "4 " + " ".join(words[min(1, len(words) - 1)] for words in choices[start : start + 4])
    names = sorted({name for words in choices for name in words[1:]})
    yield from (f"{one} & {other}" for one, other in combinations_with_replacement(names, 2))
    yield from (f"{name} + {word}" for name, word in product(names, _PLAIN.intersection(part)))


def _sized(word: str) -> str:
    """Numbers by their size: what matters of an age or a dose is about how large it is."""
    if not word.isdigit():
        return word
    number = int(word[:6])
    return next((f"0-{limit}" for limit in (4, 12, 17, 99) if number <= limit), "100-")
