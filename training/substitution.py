"""Other words of the same kind for the facts of a conversation, drawn anew at each epoch.

"My dog is called Rex." ... "How is Rex?" becomes "My dog is called Rufus." ... "How is Rufus?". So what is learned is
not that dogs are called Rex but to say again what was told, which only the dialogue state can carry. Only what comes
back is changed: what is said in one utterance alone is carried nowhere.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.kinds import KINDS
from data.store import TokenStore
from data.vocabulary import UNK, Vocabulary

CORPUS = "written"  # whose facts are the speaker's own; elsewhere a name may be a film star's
_NUMBERS = "numbers"  # ends the name of each kind of them
_SUMS = ("plus", "minus", "times", "divided", "sum", "half", "double", "twice")  # where one follows from another


class Word(NamedTuple):
    kind: str
    ids: tuple[int, ...]  # of each way to write it


def words_of(vocabulary: Vocabulary, kinds: Mapping[str, str]) -> list[Word]:
    """The words of all kinds, without those that the vocabulary lacks in one of their ways to be written."""
    words = []
    for kind, listed in kinds.items():
        for word in listed.split():
            ids = tuple(map(vocabulary.id_of, word.split("/")))
            if UNK not in ids:
                words.append(Word(kind, ids))
    return words


class Substitution:
    def __init__(self, vocabulary: Vocabulary, source: int) -> None:
        """`source` is the number of the corpus in a store's `sources`."""
        self._source = source
        self._words = words_of(vocabulary, tomllib.loads(KINDS.read_text("utf-8")))
        self._word_of = np.full(len(vocabulary), -1)  # the place of each id's word, -1 of others
        for place, word in enumerate(self._words):
            self._word_of[list(word.ids)] = place
        self._sums = [vocabulary.id_of(word) for word in _SUMS if word in vocabulary]

    @classmethod
    def of(cls, prepared: Path, vocabulary: Vocabulary) -> "Substitution":
        """For the stores of a prepared folder. Raises ValueError with a sentence where `written` is not among them."""
        file = prepared / "sources.json"
        sources = json.loads(file.read_text("utf-8")) if file.is_file() else []
        if CORPUS not in sources:
            raise ValueError(
                f"{prepared} tells of no dialogue that it is of the corpus '{CORPUS}', whose words alone are "
                f"substituted; prepare it again with '{CORPUS}' among the sources, or leave substitute out."
            )
        return cls(vocabulary, sources.index(CORPUS))

    def view(self, store: TokenStore, seed: int, epoch: int) -> TokenStore:
        """The store as it is to be learned in an epoch; the same for the same seed and epoch."""
        return _View(store.tokens, store.utterances, store.dialogues, store.weights, store.sources, self, (seed, epoch))

    def is_of(self, store: TokenStore, place: int) -> bool:
        return store.sources is not None and int(store.sources[place]) == self._source

    def substituted(self, utterances: Sequence[np.ndarray], generator: np.random.Generator) -> list[np.ndarray]:
        """One dialogue's utterances with other words for those that come back, each the same throughout.

        Numbers stay where there are several, or where sums are done: one may be reckoned from another.
        """
        said = [set(self._word_of[utterance].tolist()) - {-1} for utterance in utterances]
        counts = Counter(place for places in said for place in places)
        numbers = sum(self._is_number(place) for place in counts)
        is_reckoned = numbers > 1 or np.isin(np.concatenate(utterances), self._sums).any()
        coming_back = [
            place
            for place, count in sorted(counts.items())
            if count > 1 and not (is_reckoned and self._is_number(place))
        ]
        ids = np.arange(len(self._word_of))
        for old, new in self._drawn(coming_back, set(counts), generator):
            ids[list(self._words[old].ids)] = self._words[new].ids
        return [ids[utterance].astype(utterance.dtype) for utterance in utterances]

    def _is_number(self, place: int) -> bool:
        return self._words[place].kind.endswith(_NUMBERS)

    def _drawn(
        self, places: Sequence[int], taken: set[int], generator: np.random.Generator
    ) -> Iterator[tuple[int, int]]:
        """Each word with another of its kind, if one is left that nobody says in the dialogue; none twice."""
        for old in places:
            kind = self._words[old].kind
            free = [place for place, word in enumerate(self._words) if word.kind == kind and place not in taken]
            if free:
                new = int(generator.choice(free))
                taken.add(new)
                yield old, new


@dataclass(frozen=True, slots=True, eq=False)
class _View(TokenStore):
    """A store whose dialogues of one corpus have other words; their lengths stay."""

    substitution: Substitution | None = None
    seed: tuple[int, int] = (0, 0)  # of the run, and the epoch

    def __getitem__(self, place: int) -> list[np.ndarray]:
        utterances = TokenStore.__getitem__(self, place)
        if self.substitution is None or not self.substitution.is_of(self, place):
            return utterances
        return self.substitution.substituted(utterances, np.random.default_rng((*self.seed, place)))
