"""The responses of the conversations that were written for the chatbot, found by what a person said before them.

They are in the chatbot's own voice and part of a checkpoint, as `responses.safetensors`:

    asked, asked_offsets      ids of the utterance that each response answers, end to end, and where each begins
    before, before_offsets    of the utterance before that one; some are empty
    said, said_offsets        of the response itself
    told                      for each id of a response, whether it is a fact told before (`chatbot.choosing.facts`)

The likeness of what is asked now and what was asked then is the cosine of their words, pairs of words and, with less
weight, words of the utterance before, each weighed by how rare it is (tf-idf: Salton & Buckley, 1988).

Shapes: N responses, F different features, P features of all responses together.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file
from torch import Tensor

from chatbot.choosing.facts import Facts
from chatbot.choosing.plain import PlainReplies
from chatbot.decoding.reuse import can_be_said, first_sentence, names_of
from chatbot.persona import OWN_NAME
from data.vocabulary import Vocabulary

RESPONSES = "responses.safetensors"
_BEFORE_WEIGHT = 0.4  # of a word of the utterance before
_RARE = 0.004  # of the persons' utterances hold a word that is rare
_VOTERS, _ELECTED = 200, 4  # the nearest responses whose first sentences are counted, and how many of these are taken
_LOOKED_AT = 12  # as many are looked at for each that is asked for: many are said twice or name what was not spoken of
_PARTS = ("asked", "before", "said")

Utterance = tuple[int, ...]


class Exchange(NamedTuple):
    """An utterance of the chatbot, what it answers, and what was said before that; as ids. `told` marks the words of
    the chatbot's utterance that are facts told before."""

    before: Utterance
    asked: Utterance
    said: Utterance
    told: tuple[bool, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Postings:
    """Which responses have a feature: `features` (F,) in rising order, those of the i-th at
    `rows[starts[i]:starts[i + 1]]` with their `weights` (P,); `rarity` (F,) of each feature."""

    features: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    rarity: np.ndarray


class OwnResponses:
    def __init__(
        self, exchanges: Sequence[Exchange], vocabulary: Vocabulary, plain: PlainReplies | None = None
    ) -> None:
        self._exchanges, self._plain = exchanges, plain
        self._speech = vocabulary.speech()
        self._names = names_of(vocabulary)
        self._names[vocabulary.id_of(OWN_NAME)] = False  # which it may say whatever was said before
        self._size = len(vocabulary)
        self._facts = Facts(vocabulary)
        self._marks = frozenset(self._speech.marks)
        self._postings: _Postings | None = None

    def __len__(self) -> int:
        return len(self._exchanges)

    def prepare(self) -> None:
        """Index them, which takes seconds; the first `find` does so otherwise."""
        if self._postings is None:
            self._postings = _index([self._features(one.asked, one.before) for one in self._exchanges])

    def find(self, states: Tensor, earlier: Sequence[Sequence[Sequence[int]]], count: int) -> list[list[Utterance]]:
        """Return replies to the last of each dialogue's `earlier` utterances.

        They are up to `count` responses, those to the most similar utterances first; the first sentences that were said
        most often to similar utterances ("I'm sorry.", "How nice!"); and up to `count` plain replies.
        """
        plain = [[] for _ in earlier] if self._plain is None else self._plain.find(earlier, count)
        return [
            list(dict.fromkeys([*self._find(utterances, count), *replies]))
            for utterances, replies in zip(earlier, plain, strict=True)
        ]

    def _find(self, earlier: Sequence[Sequence[int]], count: int) -> list[Utterance]:
        before = earlier[-2] if len(earlier) > 1 else ()
        likeness = self._likeness(self._features(earlier[-1], before))
        nearest = _largest(likeness, max(_VOTERS, _LOOKED_AT * count))
        known = self._facts.known(earlier)
        near = [self._exchanges[row] for row in nearest if likeness[row] > 0]
        suiting = (one for one in near[: _LOOKED_AT * count] if self._facts.suits(one.said, one.told, earlier, known))
        filled = (self._facts.put_in(one.said, one.told, known) for one in suiting)
        found = dict.fromkeys(ids for ids in filled if ids is not None)
        fit = [ids for ids in found if can_be_said(ids, earlier, self._names, self._speech)][:count]
        return list(dict.fromkeys([*fit, *self._reactions(nearest[:_VOTERS], likeness)]))

    def _reactions(self, rows: np.ndarray, likeness: np.ndarray) -> list[Utterance]:
        """The first sentences that most of some responses begin with, each vote weighed by how like its question is."""
        votes: defaultdict[Utterance, float] = defaultdict(float)
        for row in rows:
            first = first_sentence(self._exchanges[row].said, self._marks)
            if not any(self._exchanges[row].told[: len(first)]) and not any(self._names[list(first)]):
                votes[first] += float(likeness[row])
        elected = sorted(votes, key=votes.__getitem__, reverse=True)[:_ELECTED]
        return [first for first in elected if votes[first] > 0]

    def _features(self, asked: Sequence[int], before: Sequence[int]) -> Counter[int]:
        """Words, pairs of neighbouring words, and words of the utterance before, each with how much it counts."""
        words = [token for token in asked if token in self._speech.words]
        counts: Counter[int] = Counter(words)
        counts.update((1 + one) * self._size + next for one, next in pairwise(words))
        for token in before:
            if token in self._speech.words:
                counts[-token] += _BEFORE_WEIGHT  # type: ignore[assignment]
        return counts

    def _likeness(self, asked: Counter[int]) -> np.ndarray:
        """The cosine of an utterance and of each one that a response answers, up to a factor: (N,)."""
        self.prepare()
        assert self._postings is not None
        postings, likeness = self._postings, np.zeros(len(self), np.float32)
        for feature, count in asked.items():
            place = int(np.searchsorted(postings.features, feature))
            if place < len(postings.features) and postings.features[place] == feature:
                part = slice(postings.starts[place], postings.starts[place + 1])
                likeness[postings.rows[part]] += count * postings.rarity[place] * postings.weights[part]
        return likeness


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The places of the largest values, the largest first; of equal ones the first."""
    count = min(count, len(values))
    places = np.argpartition(-values, count - 1)[:count] if count else np.array([], int)
    return places[np.lexsort((places, -values[places]))]


def _index(counts: Sequence[Counter[int]]) -> _Postings:
    rows = np.repeat(np.arange(len(counts), dtype=np.int32), [len(one) for one in counts])
    every = np.array([feature for one in counts for feature in one], np.int64)
    often = np.array([count for one in counts for count in one.values()], np.float32)
    features, places, held = np.unique(every, return_inverse=True, return_counts=True)
    rarity = np.log(len(counts) / held).astype(np.float32)
    weights = often * rarity[places]
    lengths = np.sqrt(np.bincount(rows, weights**2, len(counts)))
    order = np.argsort(places, kind="stable")
    normalised = weights / np.maximum(lengths, 1e-9)[rows]
    starts = np.concatenate([[0], np.cumsum(held)])
    return _Postings(features, starts, rows[order], normalised[order].astype(np.float32), rarity)


def exchanges_of(dialogues: Sequence[Sequence[Utterance]], vocabulary: Vocabulary) -> list[Exchange]:
    """Every second utterance of dialogues that a person begins, where it can be said again."""
    speech, facts = vocabulary.speech(), Facts(vocabulary)
    said = Counter(token for ids in dialogues for utterance in ids[::2] for token in set(utterance))
    most = _RARE * sum(len(ids[::2]) for ids in dialogues)
    rare = {token for token, count in said.items() if count <= most and token in speech.words}
    return [
        Exchange(ids[turn - 2] if turn > 1 else (), ids[turn - 1], ids[turn], facts.told(ids[turn], ids[:turn:2], rare))
        for ids in dialogues
        for turn in range(1, len(ids), 2)
        if ids[turn] and not speech.spoils(ids[turn])
    ]


def save_responses(folder: Path, exchanges: Sequence[Exchange]) -> None:
    """Write them into a checkpoint's folder."""
    tensors = {}
    for part in _PARTS:
        utterances = [getattr(one, part) for one in exchanges]
        tensors[part] = np.array([token for ids in utterances for token in ids], np.int32)
        tensors[f"{part}_offsets"] = np.cumsum([0, *map(len, utterances)], dtype=np.int64)
    tensors["told"] = np.array([is_told for one in exchanges for is_told in one.told], bool)
    save_file(tensors, folder / RESPONSES)
    (folder / RESPONSES).chmod(0o644)  # safetensors makes it its owner's alone; a server may be another user


def load_responses(folder: Path, vocabulary: Vocabulary, plain: PlainReplies | None = None) -> OwnResponses | None:
    """Return those of a checkpoint's folder, if it has any, and plain replies beside them.

    Raises ValueError, KeyError or SafetensorError where the file is damaged.
    """
    file = folder / RESPONSES
    if not file.is_file():
        return None
    tensors = load_file(file)
    parts = [_utterances(tensors[part], tensors[f"{part}_offsets"], len(vocabulary)) for part in _PARTS]
    by_name = dict(zip(_PARTS, parts, strict=True))
    if not len(by_name["before"]) == len(by_name["asked"]) == len(by_name["said"]):
        raise ValueError(f"the parts of {RESPONSES} are not those of one list")
    if tensors["told"].shape != tensors["said"].shape:
        raise ValueError(f"{RESPONSES} does not tell of each word whether it is a fact")
    marks = iter(tensors["told"].tolist())
    told = [tuple(islice(marks, len(ids))) for ids in by_name["said"]]
    return OwnResponses([*map(Exchange, by_name["before"], by_name["asked"], by_name["said"], told)], vocabulary, plain)


def _utterances(tokens: np.ndarray, offsets: np.ndarray, vocabulary_size: int) -> list[Utterance]:
    is_whole = (
        tokens.dtype == np.int32
        and offsets.dtype == np.int64
        and tokens.ndim == offsets.ndim == 1
        and len(offsets)
        and offsets[0] == 0
        and offsets[-1] == len(tokens)
        and (np.diff(offsets) >= 0).all()
        and (not len(tokens) or (tokens.min() >= 0 and tokens.max() < vocabulary_size))
    )
    if not is_whole:
        raise ValueError(f"{RESPONSES} holds no utterances of this vocabulary")
    ids = tokens.tolist()
    return [tuple(ids[start:end]) for start, end in pairwise(offsets.tolist())]
