"""What a chooser learns before it sees a judgement: true responses, and wrong ones of several kinds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chatbot.choosing.network import TURNS
from data.store import TokenStore

_LONGEST = 30  # tokens of a response; what is longer is seldom said by a chatbot
_NEAR = (-1, 2, -2, 1, 3)  # other utterances of the same dialogue, counted from the true response
_ONLY_LAST = 0.3  # of the contexts: from their last utterance alone a chooser learns what depends on it

Utterance = Sequence[int]


class Example(NamedTuple):
    context: Sequence[Utterance]
    response: Utterance
    near: Sequence[Utterance]  # other utterances of the dialogue, which fit its matter but not this place


class Examples:
    """Draws examples from a store of dialogues."""

    def __init__(self, store: TokenStore) -> None:
        """Raises ValueError with a sentence where no utterance answers another."""
        lengths = np.diff(store.utterances)
        answers = np.ones(len(lengths), dtype=bool)
        answers[store.dialogues[:-1]] = False
        self._places = np.flatnonzero(answers & (lengths > 0) & (lengths <= _LONGEST))
        self._store = store
        if not len(self._places):
            raise ValueError("The prepared corpus holds no response to learn from; prepare more dialogues.")

    def draw(self, random: np.random.Generator, count: int) -> list[Example]:
        return [self._example(int(place), random) for place in random.choice(self._places, count)]

    def _example(self, place: int, random: np.random.Generator) -> Example:
        store = self._store
        dialogue = int(np.searchsorted(store.dialogues, place, side="right")) - 1
        first, end = int(store.dialogues[dialogue]), int(store.dialogues[dialogue + 1])
        turns = 1 if random.random() < _ONLY_LAST else TURNS
        context = [self._utterance(turn) for turn in range(max(first, place - turns), place)]
        response = self._utterance(place)
        near = [self._utterance(place + way) for way in _NEAR if first <= place + way < end]
        return Example(context, response, [ids for ids in near if len(ids) and list(ids) != list(response)])

    def _utterance(self, place: int) -> list[int]:
        ids: list[int] = self._store.tokens[self._store.utterances[place] : self._store.utterances[place + 1]].tolist()
        return ids
