"""What readers judged: contexts, and of each candidate reply whether it was sensible and specific."""

import json
import lzma
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from data.cleaning import normalise
from data.vocabulary import Vocabulary

SHIPPED = Path(__file__).parents[1] / "judgements.jsonl.xz"
_HELD_OUT = 0.1  # of the conversations, by which a chooser is measured

Utterance = tuple[int, ...]


class Judged(NamedTuple):
    """A context and its candidates as ids; of each candidate whether it was `sensible` and `specific`."""

    context: tuple[Utterance, ...]
    candidates: tuple[Utterance, ...]
    sensible: tuple[bool, ...]
    specific: tuple[bool, ...]
    is_held_out: bool


def read_judgements(files: Iterable[Path], vocabulary: Vocabulary) -> list[Judged]:
    """All contexts of some files with two candidates or more, in the files' order.

    Raises ValueError with a sentence that names a file and a line that holds no judgements.
    """
    return [one for file in files for one in _read(file, vocabulary) if len(one.candidates) > 1]


def _read(file: Path, vocabulary: Vocabulary) -> Iterator[Judged]:
    opened = lzma.open if file.suffix == ".xz" else open
    number = 0
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                number += 1
                record = json.loads(line)
                if "context_sha256" not in record:  # the context is another corpus's, whose text is not here
                    yield _judged(record, vocabulary)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, lzma.LZMAError) as error:
        raise ValueError(f"Line {number} of {file} holds no judgements as `chatbot blind` writes them.") from error


def _judged(record: dict[str, Any], vocabulary: Vocabulary) -> Judged:
    def ids(text: str) -> Utterance:
        return tuple(vocabulary.encode(normalise(text, vocabulary)))

    found = [one for one in record["candidates"] if ids(one["text"])]
    return Judged(
        tuple(map(ids, record["context"])),
        tuple(ids(one["text"]) for one in found),
        tuple(bool(one["sensible"]) for one in found),
        tuple(bool(one["specific"]) for one in found),
        # By another hash than that which splits the corpus `written`: of its training part some are held out here too.
        int(sha256(f"chooser {record['id']}".encode()).hexdigest()[:8], 16) / 2**32 < _HELD_OUT,
    )


class Measured(NamedTuple):
    """What the candidates that a chooser takes are called by readers, as shares of the contexts; `possible` is that of
    contexts with any sensible candidate, `order` how often a sensible candidate stands above one that is not."""

    contexts: int
    sensible: float
    specific: float
    possible: float
    order: float


def measure(judged: Sequence[Judged], scores: Sequence[Sequence[float]]) -> Measured:
    """`scores` are those of the candidates of each context, of which the highest is taken."""
    taken = [max(range(len(row)), key=row.__getitem__) for row in scores]
    sensible = [one.sensible[place] for one, place in zip(judged, taken, strict=True)]
    specific = [one.specific[place] for one, place in zip(judged, taken, strict=True)]
    orders = [order for one, row in zip(judged, scores, strict=True) if (order := _order(one, row)) is not None]
    count = max(1, len(judged))
    possible = sum(any(one.sensible) for one in judged)
    order = sum(orders) / max(1, len(orders))
    return Measured(len(judged), sum(sensible) / count, sum(specific) / count, possible / count, order)


def _order(judged: Judged, scores: Sequence[float]) -> float | None:
    right = [score for score, good in zip(scores, judged.sensible, strict=True) if good]
    wrong = [score for score, good in zip(scores, judged.sensible, strict=True) if not good]
    if not (right and wrong):
        return None
    return sum(one > other for one in right for other in wrong) / (len(right) * len(wrong))
