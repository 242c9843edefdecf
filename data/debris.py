"""Placeholders and cut-off abbreviations: what no reply may say.

Corpora hold names that were taken out ("My name is user 2.", "Hi [name]!"), and a model that was trained on them says
the same. Each rule here names tokens that must not follow some others, so that decoding takes another path.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import regex

from data.tokenizer import JOINER

Following = Mapping[tuple[int, ...], frozenset[int]]  # after these tokens, any of those

_NO_RULES: Following = MappingProxyType({})
_LONGEST = 3  # tokens before the one that a rule bars
_SPEAKER = "user|speaker|person|persona|participant"
_BEFORE_A_NAME = "is|am|i'm|it's|hi|hello|hey|you|too|,"  # after these nobody says "user" without an article
_GREETED = "hi|hello|hey|you|thanks|welcome|bye|goodbye"  # after these and a comma comes a name, not the word "name"
_NUMBER = r"\d\d?|#|_"
_BRACKET = r"[\[(]+"
_SQUARE_BRACKET = r"\[+"
_TAG_BRACKET = r"[<{]+[%#]?"
_WORD = r"\p{L}.*"
_NAME = "names?|username"
_PLACEHOLDER = f"{_NAME}|user|speaker|persona|insert|placeholder|redacted"
_OWNER = "your|my|his|her|their|the|first|last|full"
_DETAIL = (
    "person|customer|client|company|agent|assistant|order|product|city|country|location|address|email|phone|number|date|"
    "title|url|link"
)
_ABBREVIATION = (
    "mr|mrs|ms|mx|dr|prof|rev|messrs|mme|mlle|sgt|lt|cpl|pvt|capt|cmdr|col|maj|gen|gov|sen|vols?|vs|st|mt|pt|approx|dept|"
    r"eg|ie|cf|viz|e\.g\.|i\.e\."
)


class Debris(NamedTuple):
    """`after` holds what must not follow some tokens, `last` what must not end a reply after them.

    `cues` are the tokens at the ends of those that `after` knows: most tokens are none, and that is quickly told.
    """

    after: Following = _NO_RULES
    last: Following = _NO_RULES
    cues: frozenset[int] = frozenset()

    def barred(self, ids: Sequence[int]) -> set[int]:
        """The tokens that must not come after these."""
        return _found(self.after, ids) if ids and ids[-1] in self.cues else set()

    def barred_at_the_end(self, ids: Sequence[int]) -> set[int]:
        """The tokens that must not come after these as the last of a reply."""
        return _found(self.last, ids)

    def spoils(self, ids: Sequence[int]) -> bool:
        """Whether an utterance holds a placeholder, or ends in an abbreviation that wants another word."""
        return bool(ids) and (
            ids[-1] in self.barred_at_the_end(ids[:-1])
            or any(token in self.barred(ids[:place]) for place, token in enumerate(ids))
        )


def _found(rules: Following, ids: Sequence[int]) -> set[int]:
    starts = range(max(0, len(ids) - _LONGEST), len(ids) + 1)
    return set().union(*(rules.get(tuple(ids[start:]), ()) for start in starts))


def debris_of(tokens: Sequence[str], end: int) -> Debris:
    """The rules in the ids of a vocabulary's tokens, one of which is the `end` of an utterance."""
    cores = [token.strip(JOINER).lower() for token in tokens]

    def like(pattern: str) -> list[int]:
        matches = regex.compile(pattern).fullmatch
        return [place for place, core in enumerate(cores) if matches(core)]

    def opening(pattern: str) -> list[int]:
        return [place for place in like(pattern) if tokens[place].endswith(JOINER)]

    stop, ends = like(r"\."), [end, *like(r"[!?]+|\.{2,}")]
    abbreviations = [place for place in like(_ABBREVIATION) if not tokens[place].startswith(JOINER)]  # not "1st"
    after = _rules(
        ([like(_SPEAKER)], like(_NUMBER)),
        ([like(_BEFORE_A_NAME)], like("user")),
        ([opening(_BRACKET)], like(_PLACEHOLDER)),
        ([opening(_SQUARE_BRACKET)], like(f"{_OWNER}|{_DETAIL}")),
        ([opening(_TAG_BRACKET)], like(_WORD)),
        ([opening(_BRACKET), like(_OWNER)], like(_NAME)),
        ([like("my"), like("name"), like("is")], like("[.,!]")),
        ([like(_GREETED), like(","), like("name")], like("[.,!?]+")),
        ([abbreviations], ends),
        ([abbreviations, stop], ends),
    )
    last = _rules(([], abbreviations), ([abbreviations], stop))
    return Debris(after, last, frozenset(before[-1] for before in after))


def _rules(*rules: tuple[Iterable[Iterable[int]], Collection[int]]) -> Following:
    """Rules that name the tokens at each place before the barred ones, as a mapping from all that may stand there."""
    following: dict[tuple[int, ...], frozenset[int]] = {}
    for places, barred in rules:
        for before in product(*places) if barred else ():
            following[before] = following.get(before, frozenset()) | frozenset(barred)
    return following
