"""Questions about the chatbot, which the network cannot answer, and questions about facts that a person has told."""

from collections.abc import Sequence, Set

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
        """Tell whether an utterance holds "I", "my" or another word for its speaker."""
        return not self._speaker.isdisjoint(ids)

    def is_about_listener(self, utterance: Sequence[int]) -> bool:
        """Tell whether an utterance is a question that holds "you" or "your": "Are you married?"."""
        return not self._questions.isdisjoint(utterance) and not self._listener.isdisjoint(utterance)

    def facts_asked_for(self, earlier: Sequence[Sequence[int]]) -> Set[int]:
        """Return the names, towns, jobs, colours, animals and numbers that a person has said before in a dialogue.

        None are returned unless the last utterance is a question with "my" or "I" in it: "What is my name?".
        """
        if not earlier or self._questions.isdisjoint(earlier[-1]) or self._speaker.isdisjoint(earlier[-1]):
            return frozenset()
        asked = set(earlier[-1])
        return {token for token, kind in self._facts.known(earlier).items() if kind and token not in asked}
