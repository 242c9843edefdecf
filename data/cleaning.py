"""What is speech and what is debris: one rule for every corpus, and for what a person types.

`normalise` mends an utterance; `fault` names the reason for leaving it out, if there is one. `plain` and `damage` do so
for text in any language and of any kind, which is taken as it is.
"""

import html
import unicodedata
from collections.abc import Container

import regex

from data.markup import without_markup

MAX_TOKENS = 60  # an utterance longer than this is a speech, not a turn of talk
MAX_CHARACTERS = 20_000  # with markup; nothing is looked for in a longer text
MAX_DOCUMENT_TOKENS = 400  # of text that is taken as it is

_SIGNS = str.maketrans(
    {"‘": "'", "’": "'", "‛": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
    | {"–": "-", "―": "--", "—": "--", "…": "...", "\u00a0": " ", "\u2028": " ", "\u2029": " "}
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff", None)
)
_VISIBLE = regex.compile(r"[^\p{Z}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]")
_SCANNED_I = regex.compile(r"(?<![\w'])l(?='(?:m|ll|ve|d)\b)")
_SPACED_HYPHEN = regex.compile(r"(?<=\p{Ll})- (?!(?:and|or|to)\b)(?=\p{Ll}{2})")
_SPACED_APOSTROPHE = regex.compile(r"(?<=\w) ?' ?(?=(?:s|m|t|d|re|ve|ll)\b)", regex.IGNORECASE)
_SPLIT_NOT = regex.compile(
    r"\b(ca|do|does|did|is|are|was|were|wo|would|could|should|have|has|had) (?=n't\b)", regex.IGNORECASE
)
_SPACE_BEFORE = regex.compile(r"(?<=\w['\"]?) +(?=[,;:!?]|\.(?!\.?\w))")
_MISSING_SPACE = regex.compile(r"(?<=\p{Ll}{2}[.;!?])(?=\p{Lu}(?!\.))|(?<=\p{L}{2},)(?=\p{L})")
_LONG_RUN = regex.compile(r"([!?*_~=-])\1{3,}|(\.)\2+")
_DOUBLE = regex.compile(r"([,;:])(?: ?\1)+")
_STRETCHED = regex.compile(r"(\p{L})\1{3,}", regex.IGNORECASE)
_LONE_I = regex.compile(r"(?<![\w'.&-])i(?![\w&-]|\.\w|')|(?<![\w'])i(?='(?:m|ve|ll|d)\b)")

_WORD = regex.compile(r"[\p{L}\p{M}']+")

# Contractions written without their apostrophe, only those that are no words of their own.
_CONTRACTIONS = {
    full.replace("'", ""): full
    for full in _WORD.findall(
        "i'm i've don't can't won't didn't doesn't isn't wasn't aren't weren't wouldn't couldn't shouldn't haven't "
        "hasn't hadn't ain't that's what's there's here's who's where's you're you've you'd you'll they're they've "
        "they'll we've he's she's it'll that'll y'all"
    )
}
_CONTRACTION = regex.compile(rf"\b(?:{'|'.join(_CONTRACTIONS)})\b", regex.IGNORECASE)

_PLACEHOLDER = regex.compile(
    r"\[[^\[\]]{0,100}?(?:name|user|person|redacted|insert|your|location|city|date)[^\[\]]{0,100}+\]|<[a-z_ ]+>"
    r"|\((?:(?:your|my|insert|first|last) )*name\)|\((?:user|person|speaker) ?\d\)"
    r"|\b(?:user|speaker|persona|participant) ?#?\d|__+|\{[\w. -]+\}|\{[{%!][^{}\n]*\}|<%[^<>]*%>|\$\{[^{}\n]+\}"
    r"|%%?[a-z_][\w.]*%|\*\|\w+\|\*|(?-i:\bPERSON\d+\b|\bREDACTED\b)",
    regex.IGNORECASE,
)
_ADDRESS = regex.compile(
    r"https?:|\bwww\.|\S@\S{1,255}\.\w|\b[\w-]{1,63}\.(?:com|org|net|tv|info|edu|gov)\b|\b\w+\.co\.uk\b",
    regex.IGNORECASE,
)
_FORMULA = regex.compile(
    r"\s*[=+@-]+\s*[A-Z][A-Z.\d]+\(.*\)\s*|\s*=\s*\$?[A-Z]{1,3}\$?\d+\b.*|\s*#(?:REF!|NAME\?|VALUE!|DIV/0!|N/A|NULL!|NUM!)\s*"
)
_MOJIBAKE = regex.compile(r"[\ufffd\p{Co}\p{Cn}\p{Cs}]|[ÃÂâ][\u0080-\u00bf€™œž]|\p{Cc}")

# The commonest English words that the neighbouring languages do not share.
_COMMON = frozenset(
    _WORD.findall(
        "the and you that it is of to in i what for my your this have are was with be not do know don't it's i'm if "
        "they she his her him there here how who when why where get got go going just like yes yeah okay right well "
        "want think would could will one out up now about all so then or from has had been were them us our you're "
        "can it'll that's can't let's good see come back take tell say make time did didn't oh hey thanks love too "
        "really very but he we an at by as than some more most any only also their someone where into over again always"
    )
)


def plain(text: str) -> str:
    """What a text says, on one line in plain punctuation, each letter one with its accents."""
    said = without_markup(unicodedata.normalize("NFC", html.unescape(text)))
    return " ".join(said.translate(_SIGNS).split())


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: it is empty, or all spaces and signs of no width."""
    return not _VISIBLE.search(text)


def normalise(text: str, known: Container[str] = ()) -> str:
    """`plain` English, with common slips of typing and of scanning mended.

    A word of `known` is no slip: `im` is German and `dont` French to a vocabulary that holds them.
    """
    text = plain(text)
    text = _SPACED_HYPHEN.sub("-", text)
    text = _SPACED_APOSTROPHE.sub("'", text)
    text = _SCANNED_I.sub("I", text)
    text = _SPLIT_NOT.sub(r"\1", text)
    text = _SPACE_BEFORE.sub("", text)
    text = _MISSING_SPACE.sub(" ", text)
    text = _LONG_RUN.sub(lambda run: (run[1] or run[2]) * 3, text)
    text = _DOUBLE.sub(r"\1", text)
    text = _STRETCHED.sub(r"\1\1\1", text)
    text = _CONTRACTION.sub(lambda word: word[0] if word[0] in known else _with_apostrophe(word), text)
    text = _LONE_I.sub("I", text)
    return in_sentence_case(text) if _is_shouted(text) else text


def fault(text: str, tokens: int) -> str | None:
    """Why a normalised utterance of so many tokens is unfit for training, or None when it is fit."""
    if reason := damage(text, tokens, MAX_TOKENS):
        return reason
    if _ADDRESS.search(text):
        return "address or link"
    if _PLACEHOLDER.search(text):
        return "placeholder"
    if _mostly_signs(text):
        return "garbled"
    return None if looks_english(text) else "not English"


def damage(text: str, tokens: int, limit: int = MAX_DOCUMENT_TOKENS) -> str | None:
    """Why nothing can be learned from a text of so many tokens, whatever its language; None when something can."""
    if not any(character.isalnum() for character in text):
        return "no words"
    if tokens > limit:
        return "too long"
    if _FORMULA.fullmatch(text):
        return "formula"
    return "garbled" if _MOJIBAKE.search(text) else None


def looks_english(text: str) -> bool:
    """Whether letters are Latin and, where there are enough words to tell, common English ones are among them."""
    foreign = sum(character.isalpha() and not character.isascii() for character in text)
    if foreign * 5 > len(text):
        return False
    words = _WORD.findall(text.lower())
    return len(words) < 8 or share_of_common_words(words) > 0


def share_of_common_words(words: list[str]) -> float:
    """How many of the words are among the commonest English ones, 0 to 1; real English talk is near 0.5."""
    return sum(word in _COMMON for word in words) / max(1, len(words))


def in_sentence_case(text: str) -> str:
    """Lower case but for the word I and the first letter of each sentence."""
    text = regex.sub(r"\bi\b", "I", text.lower())
    return regex.sub(r"(?:^|[.!?]\s+)\P{L}*\p{L}?", lambda start: start[0].upper(), text)


def _is_shouted(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return len(letters) > 8 and " " in text and sum(map(str.isupper, letters)) > 0.8 * len(letters)


def _with_apostrophe(bare: "regex.Match[str]") -> str:
    mended = _CONTRACTIONS[bare[0].lower()]
    return mended.capitalize() if bare[0][0].isupper() or mended.startswith("i'") else mended


def _mostly_signs(text: str) -> bool:
    """Drawings in characters, chess moves, tables: fewer letters than anything else but spaces."""
    letters = sum(character.isalpha() for character in text)
    others = sum(not character.isalpha() and not character.isspace() for character in text)
    return others > 12 and others > letters
