"""A linear classifier over hashed words and pieces of words: of which kind an utterance is that the model must not
answer. It is trained by `python -m training.safety`."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self
from zlib import crc32

import numpy as np
from safetensors.numpy import load_file

from chatbot.safety.phrases import phrases_in
from chatbot.safety.wording import spans

NONE = "none"
CATEGORIES = (NONE, "suicide", "violence", "abuse", "minor", "emergency", "dosage", "human")
BUCKETS = 1 << 16
WEIGHTS = Path(__file__).with_name("weights.safetensors")
_EDGE = "|"
_PHRASE_WEIGHT = 3  # how often a phrase counts, where a word counts once


class Verdict(NamedTuple):
    """The category that fits best besides `none`, and how much better it fits, in nats."""

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
        """Of the part of the text that is the most dangerous."""
        return max((self._judge(part) for part in spans(text)), key=lambda one: one.margin, default=_NOTHING)

    def category_of(self, text: str, threshold: float | None = None) -> str | None:
        verdict = self.judge(text)
        return verdict.category if verdict.margin > (self.threshold if threshold is None else threshold) else None

    def _judge(self, part: Sequence[str]) -> Verdict:
        found = buckets(part)
        scores = self.weights[found].sum(0, dtype=np.int32) * (self.scale / np.sqrt(len(found))) + self.bias
        best = int(scores[1:].argmax()) + 1
        return Verdict(CATEGORIES[best], float(np.logaddexp.reduce(scores[1:]) - scores[0]))


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
    for word in set(part):
        marked = f"<{word}>"
        for length in (2, 3, 4, 5):
            for start in range(len(marked) - length + 1):
                yield f"#{marked[start : start + length]}"
    for phrase in phrases_in(" ".join(part)):
        for copy in range(_PHRASE_WEIGHT):
            yield f"{copy}:{phrase}"


def _sized(word: str) -> str:
    """Numbers by their size: what matters of an age or a dose is about how large it is."""
    if not word.isdigit():
        return word
    number = int(word[:6])
    return next((f"0-{limit}" for limit in (4, 12, 17, 99) if number <= limit), "100-")
