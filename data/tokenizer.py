"""Text to tokens and back: one rule for training and for serving.

A token that touched its neighbour in the text carries a joiner mark on the touching side, so spacing is data and not a
list of rules: `tokenise('"Well..." she said.')` is `['"￭', 'Well', '￭...', '￭"', 'she', 'said', '￭.']`, and
`detokenise` undoes it. The idea of the mark is OpenNMT's (Klein et al., 2017). Knows no vocabulary and keeps case.
"""

from collections.abc import Iterator, Sequence

import regex

JOINER = "￭"
_STAND_IN = "■"  # what a joiner typed by a user becomes, so that it cannot pass for a mark

_TOKEN = regex.compile(
    r"""
    (?= \p{Extended_Pictographic} ) \X                  # an emoji with its skin tone and joined parts
  | (?: \p{L}\. ){2,}                                   # U.S.A.
  | ['’][sS] (?! [\p{L}\p{M}\p{N}] )                    # the 's of "dog's", a word of its own
  | ['’](?: em | cause | til | bout )\b                 # 'em, 'cause
  | [\p{L}\p{M}]+ (?: ['’](?! [sS]\b ) [\p{L}\p{M}]+ )* # don't, o'clock; not the 's
  | \p{N}+ (?: [.,:] \p{N}+ )*                          # 10:30, 3.50, 1,000
  | ([\p{P}\p{S}]) \1*                                  # ..., !!!, --
  | \X                                                  # anything else a reader sees as one sign
    """,
    regex.VERBOSE | regex.IGNORECASE,
)


def tokenise(text: str) -> list[str]:
    """Tokens of one utterance, case kept, joiner marks on the sides that touched a neighbour."""
    tokens: list[str] = []
    for chunk in text.replace(JOINER, _STAND_IN).split():
        pieces = [match.group() for match in _TOKEN.finditer(chunk)]
        tokens.extend(_mark_joins(pieces))
    return tokens


def detokenise(tokens: Sequence[str]) -> str:
    """The text a reader sees; the inverse of `tokenise` but for runs of white space."""
    text = ""
    glued = True
    for token in tokens:
        core = token.strip(JOINER)
        text += core if glued or token.startswith(JOINER) else f" {core}"
        glued = token.endswith(JOINER)
    return text


def _mark_joins(pieces: list[str]) -> Iterator[str]:
    """Marks each join once, on the side of the sign rather than of the word: `Hello` `￭,` and not `Hello￭` `,`."""
    last = len(pieces) - 1
    for place, piece in enumerate(pieces):
        left = place > 0 and _carries_left(pieces[place - 1], piece)
        right = place < last and not _carries_left(piece, pieces[place + 1])
        yield f"{JOINER * left}{piece}{JOINER * right}"


def _carries_left(before: str, piece: str) -> bool:
    """Whether the join between two neighbours is marked on the right one's left side."""
    return not _is_word(piece) or _is_word(before)


def _is_word(piece: str) -> bool:
    return any(character.isalnum() for character in piece) and piece[0] not in "'’"
