"""What the model must not answer: danger to a life, abuse, emergencies, medicines, children who are flirted with, the
question whether it is human, and languages that it has not learned. These get fixed answers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from chatbot.persona import Persona
from chatbot.reply import ReplyRequest
from chatbot.safety.answers import CARING, LANGUAGE, answer, last_category
from chatbot.safety.classifier import Classifier, classifier
from chatbot.safety.languages import is_foreign
from chatbot.safety.wording import plain, words
from data.vocabulary import Vocabulary

_LOWERED = -1.0  # by so much after an utterance in danger, in nats: what is said next is likely to be about it
# What goes along with a danger that was named before, and names none itself.
_GOES_ALONG = re.compile(
    r"^(?:\w+ ){0,4}?(?:do|did|done|doing|end|finish|try|tried|take|took|stop) (?:it|that|this|so|them)\b"
    r"|^(?:yes|no|and|but|so|what if|why not|how|when|i) (?:\w+ ){0,3}?"
    r"(?:will|going to|already|tonight|now|alone|anyway|want to)\b"
    r"|\b(?:nobody|no one|do not want|can not|not) (?:\w+ ){0,3}?(?:care|cares|help|helps|listen|listens|call|talk)\b"
    r"|^(?:why|why not|how|what now|so what|i will|i did|i do|i mean it|i am serious|it hurts|help|help me)$"
)
_LONGEST_ALONG = 12  # words
_AGE = re.compile(
    r"\bi am (?:only |just |almost |nearly |turning |still )*(?:[5-9]|1[0-7]|five|six|seven|eight|nine|ten|eleven"
    r"|twelve|thirteen|fourteen|fifteen|sixteen|seventeen)\b|\b(?:[5-9]|1[0-7]) (?:f|m|years? old)\b|\bunder ?age\b"
    r"|\b(?:[1-9]|1[012]|\w+)(?: ?(?:st|nd|rd|th))? ?grader?\b|\b(?:primary|elementary|middle) school\b"
)
_CHILD = 3.0  # nats: an age alone is some of them
_LONGEST_AGE = 200  # characters of an utterance that tells an age


@dataclass(frozen=True, slots=True)
class Guarded:
    """The category of an utterance that the model must not answer, and what it is answered instead."""

    category: str
    text: str


class Guard:
    def __init__(self, persona: Persona) -> None:
        """`persona` is who speaks in the fixed answers."""
        self._persona = persona

    def look(self, request: ReplyRequest, vocabulary: Vocabulary) -> Guarded | None:
        """None where the model may answer."""
        category = self._category(request.utterance, request.context, vocabulary)
        if category is None:
            return None
        return Guarded(category, answer(category, request.utterance, self._persona.name, self._persona.help_text))

    def _category(self, utterance: str, context: Sequence[str], vocabulary: Vocabulary) -> str | None:
        before = last_category(context)
        return (
            category_of(utterance, context, before if before in CARING else None)
            or (before if before in CARING and _goes_along(utterance) else None)
            or (LANGUAGE if is_foreign(utterance, vocabulary) else None)
        )


def category_of(utterance: str, context: Sequence[str] = (), before: str | None = None) -> str | None:
    """`before` is the category of the utterance before, where that was a danger."""
    judge = classifier()
    lowered = judge.threshold + _LOWERED if before else None
    return judge.category_of(utterance, lowered) or _of_a_child(judge, utterance, context)


def _of_a_child(judge: Classifier, utterance: str, context: Sequence[str]) -> str | None:
    """`minor` where somebody flirts who has told an age below 18 before."""
    theirs = context[-2::-2]  # the person and the chatbot speak in turn
    ages = [earlier for earlier in theirs if len(earlier) < _LONGEST_AGE and _AGE.search(_plain_words(earlier))]
    verdicts = [judge.judge(f"{age}, {utterance}") for age in ages]
    return "minor" if any(one.category == "minor" and one.margin > _CHILD for one in verdicts) else None


def _goes_along(utterance: str) -> bool:
    said = _plain_words(utterance)
    return said.count(" ") < _LONGEST_ALONG and bool(_GOES_ALONG.search(said))


def _plain_words(text: str) -> str:
    return " ".join(words(plain(text)))
