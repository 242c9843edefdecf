"""What can be said of replies by their words alone: pure functions, no model."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from chatbot.dullness import is_dull as is_dull
from chatbot.dullness import words as words
from chatbot.estimates import Estimate as Estimate
from chatbot.estimates import estimate as estimate

REPEATED_WORDS = 3  # a run of as many words that a reply says twice


def is_repeat(reply: str, context: Iterable[str]) -> bool:
    """Whether a reply has the words of an earlier utterance and no others, or says three words in a row twice."""
    own = words(reply)
    runs = ngrams(own, REPEATED_WORDS)
    return len(set(runs)) < len(runs) or any(own == words(utterance) for utterance in context)


def distinct(token_lists: Iterable[Sequence[Hashable]], n: int) -> float:
    """Distinct n-grams of all replies over the number of their tokens (distinct-n; Li et al., NAACL 2016).

    It falls as replies grow in number, so only figures of equally many can be compared. 0 where there is no token.
    """
    replies = list(token_lists)
    tokens = sum(map(len, replies))
    return sum(shares([ngrams(reply, n) for reply in replies])) / tokens if tokens else 0.0


def unique_share(texts: Iterable[str]) -> float:
    """Different replies over all replies, 0 to 1; texts that differ in case or punctuation alone are one."""
    said = [[tuple(words(text))] for text in texts]
    return sum(shares(said)) / len(said) if said else 0.0


def shares(lists: Sequence[Sequence[Hashable]]) -> list[float]:
    """What each list adds to the number of different items in all: 1 for an item nobody else has, 1/2 for one of two.

    So a count of different things is a sum over replies, of which parts can be taken and drawn anew.
    """
    counts = Counter(item for items in lists for item in items)
    return [sum(1 / counts[item] for item in items) for items in lists]


def most_frequent(texts: Iterable[str]) -> str:
    """The text that occurs most often, the shortest and then the first by spelling of equals. Needs one at least."""
    return min(Counter(texts).items(), key=lambda item: (-item[1], len(item[0]), item[0]))[0]


def ngrams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """Every run of n tokens, as often as it occurs."""
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
