"""What the classifier sees of an utterance: which words it has, and which pieces of words and words in a row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple
from zlib import crc32

import numpy as np

PIECES = 1 << 12  # where the pieces of unknown words stand
ROWS = 1 << 17  # where words in a row, and pieces of all words, stand
SIZES = ("0-4", "0-12", "0-17", "0-99", "100-")  # of numbers; what matters of an age or a dose is about how large it is
_EDGE = "|"


class Features(NamedTuple):
    """`words` are places in the vocabulary, -1 for an unknown word, whose pieces are in `pieces`. In `rows` none is
    there twice."""

    words: list[int]
    pieces: list[tuple[int, ...]]
    rows: np.ndarray


def features_of(words: Sequence[str], places: Mapping[str, int]) -> Features:
    """`places` is where each word stands that the classifier knows."""
    sized = [_sized(word) for word in words]
    found = [places.get(word, -1) for word in sized]
    unknown = [pieces_of(word) for word, place in zip(sized, found, strict=True) if place < 0]
    rows = chain(_rows([_EDGE, *sized, _EDGE]), _of_letters(words))
    return Features(found, unknown, np.unique(np.fromiter(rows, np.int32)))


@lru_cache(50_000)
def pieces_of(word: str) -> tuple[int, ...]:
    return tuple(_places(_cut(word, (3, 4, 5)), PIECES))


def _rows(words: Sequence[str]) -> Iterator[int]:
    """Up to three words that follow each other, and two that stand close by."""
    together = (words[start : start + length] for length in (1, 2, 3) for start in range(len(words) - length + 1))
    apart = ((one, "..", other) for gap in (2, 3) for one, other in zip(words, words[gap:], strict=False))
    yield from _places(map(" ".join, (*together, *apart)), ROWS)


def _of_letters(words: Iterable[str]) -> Iterator[int]:
    return (place for word in set(words) for place in _letters(word))


@lru_cache(50_000)
def _letters(word: str) -> tuple[int, ...]:
    return tuple(_places((f"#{piece}" for piece in _cut(word, (2, 3, 4, 5))), ROWS))


def _cut(word: str, lengths: Iterable[int]) -> Iterator[str]:
    marked = f"<{word}>"
    return (marked[start : start + length] for length in lengths for start in range(len(marked) - length + 1))


def _places(names: Iterable[str], size: int) -> Iterator[int]:
    return (crc32(name.encode()) % size for name in names)


def _sized(word: str) -> str:
    if not word.isdigit():
        return word
    return next(
        (size for size, limit in zip(SIZES, (4, 12, 17, 99), strict=False) if int(word[:6]) <= limit), SIZES[-1]
    )
