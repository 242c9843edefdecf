"""What a chooser thinks of candidates: whether each makes sense as the next utterance, and whether it is specific."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from chatbot.choosing.facts import Facts
from chatbot.choosing.network import Chooser, ask

_AT_ONCE = 512  # candidates that are compared at once


class Sense(NamedTuple):
    """The probabilities that a reader calls a candidate sensible, and sensible and specific."""

    sensible: float
    specific: float


class SenseJudge:
    def __init__(self, chooser: Chooser, marks: Sequence[int], facts: Facts | None = None) -> None:
        """`marks` are the tokens that end a sentence; `facts` are the rules for facts of a dialogue."""
        self._chooser = chooser.eval()
        self.marks, self.facts = frozenset(marks), facts

    @torch.inference_mode()
    def judge(
        self, contexts: Sequence[Sequence[Sequence[int]]], groups: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Sense]]:
        """For each dialogue, given as its utterances, the sense of each of its candidates; all as ids."""
        different = [list(dict.fromkeys(map(tuple, group))) for group in groups]
        senses = iter(self._judge(contexts, different))
        found = [dict(zip(group, senses, strict=False)) for group in different]
        return [[known[tuple(ids)] for ids in group] for known, group in zip(found, groups, strict=True)]

    def _judge(
        self, contexts: Sequence[Sequence[Sequence[int]]], groups: Sequence[Sequence[Sequence[int]]]
    ) -> list[Sense]:
        asked = [(context, group) for context, group in zip(contexts, groups, strict=True) if group]
        if not asked:
            return []
        question = ask(*zip(*asked, strict=True))
        owners, places = question.owners, torch.arange(len(question.owners))
        parts = zip(owners.split(_AT_ONCE), places.split(_AT_ONCE), strict=True)
        logits = torch.cat([self._chooser(question, pair) for pair in parts])
        sensible, specific = logits.sigmoid().unbind(dim=1)
        return list(map(Sense, sensible.tolist(), torch.minimum(sensible, specific).tolist()))
