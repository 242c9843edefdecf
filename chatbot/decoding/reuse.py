"""Whether a response of another dialogue can be said in this one, and its first sentence."""

from collections.abc import Sequence, Set
from itertools import chain, pairwise

import numpy as np

from data.tokenizer import JOINER
from data.vocabulary import Speech, Vocabulary


def can_be_said(ids: Sequence[int], earlier: Sequence[Sequence[int]], is_name: np.ndarray, speech: Speech) -> bool:
    """Whether a response of another dialogue names nothing that was not named `earlier` in this one."""
    named = {token for token in ids if is_name[token]}
    return named.issubset(chain.from_iterable(earlier)) and not speech.spoils(ids)


def names_of(vocabulary: Vocabulary) -> np.ndarray:
    """(V,) which tokens are numbers, or written with a capital in the middle of a sentence, but for the word I."""
    cores = [token.strip(JOINER) for token in vocabulary.tokens]
    return np.array(
        [
            any(map(str.isdigit, core)) or (core[:1].isupper() and core != "I" and not core.startswith("I'"))
            for core in cores
        ]
    )


def first_sentence(ids: tuple[int, ...], marks: Set[int]) -> tuple[int, ...]:
    """The first sentence of an utterance, or all of it; `marks` are the tokens that end a sentence."""
    ends = (place for place, (token, other) in enumerate(pairwise(ids), 1) if token in marks and other not in marks)
    return ids[: next(ends, len(ids))]
