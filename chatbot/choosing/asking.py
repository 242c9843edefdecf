"""What a question holds: whether it is about the chatbot, or about the person, and which kinds of facts it asks for."""

from collections.abc import Sequence, Set

from data.tokenizer import JOINER
from data.vocabulary import UNK, Vocabulary

_SPEAKER = "I I'm I've I'd I'll my me mine myself we our us"
_LISTENER = "you you're your yours yourself u ur"
_CUES = {
    "name": "name names named called",
    "town": "where town city from",
    "job": "job work profession",
    "colour": "color colour",
    "animal": "animal pet",
    "number": "number many old age",
}


class Asking:
    def __init__(self, vocabulary: Vocabulary) -> None:
        def ids(words: str) -> set[int]:
            return {vocabulary.id_of(word) for word in words.split()} - {UNK}

        self._speaker, self._listener = ids(_SPEAKER), ids(_LISTENER)
        self._questions = ids(f"? {JOINER}?")
        self._cues = {token: kind for kind, words in _CUES.items() for token in ids(words)}

    def speaks_of_itself(self, ids: Sequence[int]) -> bool:
        """Tell whether an utterance holds "I", "my" or another word for its speaker."""
        return not self._speaker.isdisjoint(ids)

    def is_about_listener(self, utterance: Sequence[int]) -> bool:
        """Tell whether an utterance is a question that holds "you" or "your": "Are you married?"."""
        return self._is_question(utterance) and not self._listener.isdisjoint(utterance)

    def is_about_speaker(self, utterance: Sequence[int]) -> bool:
        """Tell whether an utterance is a question that holds "I" or "my": "What is my name?"."""
        return self._is_question(utterance) and self.speaks_of_itself(utterance)

    def kinds_asked_for(self, utterance: Sequence[int]) -> Set[str]:
        """Return the kinds of facts that a question asks for, of those in `chatbot.choosing.facts`: name, town, job,
        colour, animal, number. Where it holds no word for one of them, all are returned, and "" for other facts."""
        found = {self._cues[token] for token in utterance if token in self._cues}
        return found or {*_CUES, ""}

    def _is_question(self, utterance: Sequence[int]) -> bool:
        return not self._questions.isdisjoint(utterance)
