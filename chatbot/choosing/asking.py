"""What a question is about: the chatbot, of which the network knows nothing, or facts that a person has told."""

from collections.abc import Sequence, Set
from itertools import chain

from chatbot.choosing.facts import Facts
from data.tokenizer import JOINER
from data.vocabulary import UNK, Vocabulary

_SPEAKER = "I I'm I've I'd I'll my me mine myself we our us"
_LISTENER = "you you're your yours yourself u ur"


class Asking:
    def __init__(self, vocabulary: Vocabulary) -> None:
        def ids(words: str) -> set[int]:
            return {vocabulary.id_of(word) for word in words.split()} - {UNK}

        self._speaker, self._listener = ids(_SPEAKER), ids(_LISTENER)
        self._questions = ids(f"? {JOINER}?")
        self._facts = Facts(vocabulary)

    def speaks_of_itself(self, ids: Sequence[int]) -> bool:
        """Whether the speaker of an utterance speaks of themselves."""
        return not self._speaker.isdisjoint(ids)

    def is_about_listener(self, utterance: Sequence[int]) -> bool:
        """Whether an utterance is a question that addresses the listener: "Are you married?"."""
        return not self._questions.isdisjoint(utterance) and not self._listener.isdisjoint(utterance)

    def facts_asked_for(self, earlier: Sequence[Sequence[int]]) -> Set[int]:
        """The names, towns, jobs, colours, animals and numbers that a person has told in a dialogue, where the last
        utterance asks for what is theirs ("What is my name?"); no tokens elsewhere."""
        if not earlier or self._questions.isdisjoint(earlier[-1]) or self._speaker.isdisjoint(earlier[-1]):
            return frozenset()
        asked = set(chain(earlier[-1]))
        return {token for token, kind in self._facts.known(earlier).items() if kind and token not in asked}
