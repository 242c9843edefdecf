"""Token <-> id. Case is folded for the model and given back to the reader.

A vocabulary is a list of tokens in id order, each written as it stands in the middle of a sentence (`I`, `London`,
`the`); two tokens that differ only in case or in the shape of an apostrophe share one id.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import regex

from data.debris import Debris, debris_of
from data.tokenizer import JOINER, detokenise, tokenise

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")

_BLANK = regex.compile(r"_{2,}")  # to be filled in
_LONG_RUN = regex.compile(r"([\p{P}\p{S}])\1{3,}")
_STRAIGHT = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "…": "..."})
_SENTENCE_END = (".", "!", "?")


class Speech(NamedTuple):
    """How tokens, by their ids, are spoken."""

    never: tuple[int, ...] = (PAD, UNK, BOS)  # nobody says or could see these
    words: frozenset[int] = frozenset()  # after one of these a sentence lacks its mark
    marks: tuple[int, ...] = ()  # which end a sentence, if there are any
    debris: Debris = Debris()  # what nobody says, told by the tokens before it

    def spoils(self, ids: Sequence[int]) -> bool:
        """Whether nobody would say this utterance."""
        return not set(self.never).isdisjoint(ids) or self.debris.spoils(ids)


class Vocabulary:
    """`len(vocabulary)` tokens, the four specials first.

    Raises ValueError where `tokens` does not begin with them or names one id twice.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        if tuple(tokens[: len(SPECIALS)]) != SPECIALS:
            raise ValueError(f"a vocabulary must begin with {', '.join(SPECIALS)}")
        self.tokens = tuple(tokens)
        self._ids = {fold(token): place for place, token in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens):
            raise ValueError("a vocabulary must not name the same token twice")

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int], size: int, inner_counts: Mapping[str, int] | None = None
    ) -> "Vocabulary":
        """The `size` most frequent tokens, specials included, from counts of tokens as `tokenise` gives them.

        `inner_counts` holds the same counts without the tokens that open a sentence, where a capital says nothing;
        it decides how a token is written (default: `counts`). Ties are broken by spelling, so that a vocabulary
        does not depend on the order of the corpus.
        """
        totals: defaultdict[str, int] = defaultdict(int)
        for token, count in counts.items():
            totals[fold(token)] += count
        for special in SPECIALS:
            totals.pop(special, None)
        frequent = sorted(totals, key=lambda key: (-totals[key], key))[: max(0, size - len(SPECIALS))]
        spelling = _spellings(inner_counts or counts)
        return cls([*SPECIALS, *(spelling.get(key, key) for key in frequent)])

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and fold(word) in self._ids

    def id_of(self, token: str) -> int:
        """The id of a token, of the same token joined otherwise if only that is known, or UNK."""
        key = fold(token)
        if key in self._ids:
            return self._ids[key]
        core = key.strip(JOINER)
        joined_otherwise = (core, JOINER + core, core + JOINER, JOINER + core + JOINER)
        return next((self._ids[form] for form in joined_otherwise if form in self._ids), UNK)

    def encode(self, text: str) -> list[int]:
        """Ids of an utterance, without BOS or EOS."""
        return [self.id_of(token) for token in tokenise(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a reply: specials dropped, spaces as written, a capital at the start of each sentence."""
        tokens = [self.tokens[place] for place in ids if place >= len(SPECIALS)]
        return detokenise(_with_sentence_capitals(tokens))

    def speech(self) -> Speech:
        """How a reply in these tokens is spoken: nothing that is blank to a reader."""
        texts = {place: self.decode([place]) for place in range(len(SPECIALS), len(self))}
        unseen = [place for place, text in texts.items() if not any(map(_is_visible, text)) or _BLANK.fullmatch(text)]
        words = frozenset(place for place, text in texts.items() if text[-1:].isalnum())
        marks = tuple(self._ids[JOINER + mark] for mark in _SENTENCE_END if JOINER + mark in self._ids)
        debris = debris_of(self.tokens, EOS)
        return Speech((PAD, UNK, BOS, *unseen), words, marks, debris)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.tokens, ensure_ascii=False, indent=0), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Raises ValueError where the file is not a JSON list of tokens, OSError where it cannot be read."""
        tokens = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError(f"{path} is not a vocabulary: expected a JSON list of tokens")
        return cls(tokens)


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()


def fold(token: str) -> str:
    """The form under which a token is known: lower case, straight quotes, a run of one sign cut to three."""
    return _LONG_RUN.sub(r"\1\1\1", token.translate(_STRAIGHT).lower())


def _spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """How each folded token is most often written."""
    best: dict[str, tuple[int, str]] = {}
    for token, count in counts.items():
        written = _LONG_RUN.sub(r"\1\1\1", token.translate(_STRAIGHT))
        best[fold(token)] = max(best.get(fold(token), (0, "")), (count, written))
    return {key: written for key, (_, written) in best.items() if fold(written) == key}


def _with_sentence_capitals(tokens: Iterable[str]) -> list[str]:
    capitalised: list[str] = []
    at_start = True
    for token in tokens:
        core = token.strip(JOINER)
        is_word = core[:1].isalnum()
        capitalised.append(token.replace(core, core[:1].upper() + core[1:], 1) if at_start and is_word else token)
        is_inside = token.endswith(JOINER)  # as the dot of help@shop.example
        if core.endswith(_SENTENCE_END) and core != "..." and not is_inside:
            at_start = True
        elif is_word:
            at_start = False
    return capitalised
