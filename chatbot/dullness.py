"""How dull replies are by their words alone: the phrases that say nothing, and figures of the live traffic.

Which phrases are dull is not ours to decide; the list is put together from published ones:

- Li et al., 2016, Deep Reinforcement Learning for Dialogue Generation (EMNLP), name two replies of the eight in
  their list under "ease of answering": "I don't know what you are talking about" and "I have no idea".
- The list that re-implementations of that paper took instead (github.com/pochih/RL-Chatbot, python/config.py).
- Dziri et al., 2019, Evaluating Coherence in Dialogue Systems using Entailment (NAACL), the dull replies they build
  incoherent examples from (github.com/nouhadziri/DialogEntailment, dialogentail/preprocessing).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import regex

from data.cleaning import normalise
from data.tokenizer import tokenise
from data.vocabulary import UNK, Vocabulary

DULL_PHRASES = (
    # Li et al., 2016
    "I don't know what you are talking about",
    "I have no idea",
    # RL-Chatbot
    "I don't know",
    "You don't know",
    "You know what I mean",
    "I know what you mean",
    "You know what I'm saying",
    "You don't know anything",
    # Dziri et al., 2019
    "I don't know what you mean",
    "I'm not sure",
    "I'm not sure what you're saying",
    "I'm not sure what you're talking about",
    "I'm not sure what you're trying to say",
    "I'm not sure what you mean",
    "I don't understand what you mean",
)

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}']+")
_FULL_FORMS = regex.compile(r"\b(do|did|does) not\b|\b(i) (?=am\b)am\b|\b(you) are\b")
_SHORT = {"do": "don't", "did": "didn't", "does": "doesn't", "i": "i'm", "you": "you're"}


def words(text: str) -> list[str]:
    """The words of a text in lower case, no punctuation; `do not`, `I am`, `you are` as `don't`, `I'm`, `you're`."""
    lower = " ".join(_WORD.findall(normalise(text).lower()))
    return _FULL_FORMS.sub(lambda form: _SHORT[form[1] or form[2] or form[3]], lower).split()


def is_dull(text: str) -> bool:
    """Whether the words of a phrase of DULL_PHRASES stand in the text one after another, wherever it is.

    Case, punctuation and the choice between `do not` and `don't` make no difference; a reply that goes on to say
    something after "I don't know" is dull all the same.
    """
    spaced = f" {' '.join(words(text))} "
    return any(phrase in spaced for phrase in _DULL)


class Said(Protocol):
    """What is looked at of a stored turn; a message bears the checkpoint that answered it."""

    conversation_id: str
    speaker: str  # user | bot
    text: str
    checkpoint: str | None
    is_retrieved: bool
    guarded: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Dullness:
    """Figures of the replies of one checkpoint, and of what was said to it; each is None where nothing was counted.

    Shares, 0 to 1: `repeated` of replies that have the words of an earlier reply of their conversation and no others,
    `dull` of replies with a phrase of DULL_PHRASES, `retrieved` of replies that a person gave in a corpus, `unknown` of
    people's words that the checkpoint's vocabulary does not hold. `words` is the mean length of a reply.
    """

    replies: int
    repeated: float | None
    dull: float | None
    retrieved: float | None
    words: float | None
    unknown: float | None


def live_dullness(
    turns: Iterable[Said], windows: Mapping[str, datetime], vocabulary_of: Callable[[str], Vocabulary | None]
) -> dict[str, dict[str, Dullness]]:
    """Window -> checkpoint -> its dullness, of `turns`, oldest first; a window is named and reaches back to a time.

    What came before a window still counts as earlier replies. Where no vocabulary is known any more, `unknown` is None.
    """
    counted: dict[str, defaultdict[str, Counter[str]]] = {name: defaultdict(Counter) for name in windows}
    earlier: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for turn in turns:
        if not turn.text or not turn.checkpoint:
            continue  # failed, or not answered yet
        if turn.guarded:
            continue  # no checkpoint wrote it
        if turn.speaker == "bot":
            counts = _of_reply(turn, earlier[turn.conversation_id])
        else:
            counts = _of_message(turn.text, vocabulary_of(turn.checkpoint))
        for name, since in windows.items():
            if turn.created_at >= since:
                counted[name][turn.checkpoint].update(counts)
    return {name: {who: _dullness(counts) for who, counts in found.items()} for name, found in counted.items()}


def _of_reply(turn: Said, earlier: set[tuple[str, ...]]) -> dict[str, int]:
    """What one reply adds to the counts; its words are then among the `earlier` ones."""
    own = tuple(words(turn.text))
    is_repeated = bool(own) and own in earlier
    earlier.add(own)
    return {
        "replies": 1,
        "repeated": is_repeated,
        "dull": is_dull(turn.text),
        "retrieved": turn.is_retrieved,
        "words": len(own),
    }


def _of_message(text: str, vocabulary: Vocabulary | None) -> dict[str, int]:
    if vocabulary is None:
        return {}
    heard = [token for token in tokenise(text) if _WORD.search(token)]
    return {"heard": len(heard), "unknown": sum(vocabulary.id_of(token) == UNK for token in heard)}


def _dullness(counts: Counter[str]) -> Dullness:
    replies, heard = counts["replies"], counts["heard"]
    names = ("repeated", "dull", "retrieved", "words")
    of_replies = {name: counts[name] / replies if replies else None for name in names}
    return Dullness(replies, **of_replies, unknown=counts["unknown"] / heard if heard else None)


_DULL = tuple({f" {' '.join(words(phrase))} " for phrase in DULL_PHRASES})
