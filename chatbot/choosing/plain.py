"""Plain replies that fit many dialogues: "I'm sorry to hear that.", "What happened then?".

They were written for the chatbot (`plain.txt`). For nearly every utterance some of them make sense.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from chatbot.choosing.network import Chooser, pad_candidates, pad_contexts
from data.cleaning import normalise
from data.vocabulary import UNK, Vocabulary

PLAIN = Path(__file__).with_name("plain.txt")

Utterance = tuple[int, ...]


class PlainReplies:
    """The plain replies of a vocabulary, without those that hold a word it lacks."""

    def __init__(self, chooser: Chooser, vocabulary: Vocabulary) -> None:
        lines = PLAIN.read_text("utf-8").splitlines()
        replies = (tuple(vocabulary.encode(normalise(line, vocabulary))) for line in lines)
        self._replies: list[Utterance] = [ids for ids in dict.fromkeys(replies) if ids and UNK not in ids]
        self._chooser = chooser

    def __len__(self) -> int:
        return len(self._replies)

    @cached_property
    def _vectors(self) -> Tensor:
        """The vectors of the replies, (P, H), which are the same for every dialogue."""
        return self._chooser.read_candidates(pad_candidates(self._replies)).vectors

    @torch.inference_mode()
    def find(self, contexts: Sequence[Sequence[Sequence[int]]], count: int) -> list[list[Utterance]]:
        """Return up to `count` plain replies to each dialogue, given as its utterances, the best first.

        The vectors of the chooser decide: to compare all replies word by word would cost more than the rest of a turn.
        """
        if not self._replies:
            return [[] for _ in contexts]
        asked = self._chooser.read_contexts(*pad_contexts(contexts)).vectors
        places = (asked @ self._vectors.T).topk(min(count, len(self)), dim=1).indices
        return [[self._replies[place] for place in row] for row in places.tolist()]
