"""The chatbot's name, and the help that it names.

The shipped network learned from conversations of a chatbot called Robin. If the owner chooses another name, a
`Renaming` replaces that name by "Robin" in texts for the network, and "Robin" by that name in texts for people. If a
person called Robin is mentioned, the network reads a third name for that person: only the chatbot is renamed.
"""

import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache

import regex

from chatbot.reply import ReplyRequest
from chatbot.safety.answers import HELP
from data.vocabulary import Vocabulary

OWN_NAME = "Robin"  # the chatbot's in its conversations
_NAME = regex.compile(r"(?=.*\p{L})[\p{L}\p{N}][\p{L}\p{M}\p{N} '’-]{0,29}")
_OTHERS = ("Alex", "Sam", "Chris", "Charlie", "Kim", "Taylor", "Max")  # of women and of men, as Robin is

_BEGIN, _END = r"(?<![\p{L}\p{M}\p{N}])", r"(?![\p{L}\p{M}\p{N}])"
# Not a name but a thing: "a robin", "the little robin", "my hope".
_NO_THING = r"(?<!\b(?i:an?|the|my|your|our|another|every)\s(?:(?i:little|small|young|real|red)\s)?)"
# A name that is a word as well is meant where a capital says so, or where it is set off: "Is it Will?", "hi will".
_INSIDE = r"(?<=[\p{L}\p{N},]\s)"  # a sentence
_CALLED = r"(?<=^|[.,!?]\s|\b(?i:hi|hello|hey|thanks|thank you|bye|morning|evening|night)\s)"
_SET_OFF = r"(?=\s?(?:[.,!?]|$))"
_LAST = regex.compile(r"\s?[\p{L}\p{M}\p{N}]+$")


@dataclass(frozen=True, slots=True)
class Persona:
    """`help_text` names where a person finds help, as in "please talk to somebody: {help_text}."."""

    name: str = OWN_NAME
    help_text: str = HELP


PERSONA = Persona()


def checked_name(name: str) -> str:
    """The name without white space around it. Raises ValueError where it is no name."""
    found = unicodedata.normalize("NFC", name).strip()
    if not _NAME.fullmatch(found):
        raise ValueError(
            "a name has 1 to 30 letters, digits, spaces, hyphens and apostrophes, of which the first is a letter or a "
            "digit, and at least one is a letter"
        )
    return found


@dataclass(frozen=True, slots=True)
class Renaming:
    """The names of one dialogue: `name` is the chatbot's among people and OWN_NAME the network's for it; `other` is the
    network's name for another Robin, "" where people speak of none. `is_word` where `name` also means something."""

    name: str
    other: str
    is_word: bool

    def to_network(self, request: ReplyRequest) -> ReplyRequest:
        """The request in the network's names."""
        context, beside = (tuple(map(self._heard, texts)) for texts in (request.context, request.beside))
        return replace(request, utterance=self._heard(request.utterance), context=context, beside=beside)

    def to_people(self, text: str, is_whole: bool = True) -> str:
        """Return a text of the network with the names that people know.

        The last word of a text that is not whole is left out, because it may still grow.
        """
        said, sure = _names(OWN_NAME, False, self.other), text if is_whole else _LAST.sub("", text)
        return said.sub(lambda found: self.name if found["own"] else OWN_NAME, sure)

    def _heard(self, text: str) -> str:
        heard = _names(self.name, self.is_word, OWN_NAME if self.other else "")
        return heard.sub(lambda found: OWN_NAME if found["own"] else self.other, _normal(text))


def renaming_for(name: str, request: ReplyRequest, vocabulary: Vocabulary) -> Renaming:
    """Return the renaming of the chatbot, called `name`, and of another Robin in the dialogue of a request."""
    texts = [_normal(text) for text in (*request.context, *request.beside, request.utterance)]
    is_word = " " not in name and vocabulary.decode(vocabulary.encode(f"I {name}")) == f"I {name.lower()}"
    robins = _names(name, is_word, OWN_NAME)
    if not any(found["other"] for text in texts for found in robins.finditer(text)):
        return Renaming(name, "", is_word)
    spoken = set(regex.findall(r"\p{L}+", " ".join(texts).casefold()))
    free = (other for other in _OTHERS if other in vocabulary and other.casefold() not in spoken)
    return Renaming(name, next(free, _OTHERS[0]), is_word)


@lru_cache(16)
def _names(own: str, is_word: bool, other: str) -> regex.Pattern[str]:
    """Finds the names `own` and `other`, if there is one, as the groups of these names, in upper and lower case."""
    pattern = r"\s{1,3}".join(regex.sub("['’]", "['’]", regex.escape(word)) for word in own.split())
    capital = rf"|{_INSIDE}{pattern}" if own[0].isupper() else ""
    named = rf"(?:{_CALLED}(?i:{pattern}){_SET_OFF}{capital})" if is_word else f"(?i:{pattern})"
    found = rf"(?P<own>{_BEGIN}{_NO_THING}{named}{_END})"
    return regex.compile(found + (rf"|(?P<other>{_BEGIN}{_NO_THING}(?i:{other}){_END})" if other else ""))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)
