"""An utterance as plain words, however it was typed."""

import re
import unicodedata

_LONGEST = 4_000  # characters
_SPACED_OUT = re.compile(r"(?<![^\W_])(?:[^\W\d_][ .,\-_*]{1,2}){2,}[^\W\d_](?![^\W_])")
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")
_WITHIN = re.compile(r"(?<=[a-z])[0134578@$!|]+(?=[a-z])|(?<![\w@$])[@$](?=[a-z]{2})|(?<=[a-z]{2})[@$](?![\w@$])")
_MASKED = re.compile(r"(?<=[a-z])[*#_]+(?=[a-z])")
_WORD = re.compile(r"[a-z]+|[0-9]+")
_LEET = str.maketrans("0134578@$!|", "oieastbasil")
# Letters of other alphabets that look like Latin ones, where they stand within a Latin word.
_LOOKALIKES = str.maketrans("аеёіјкмнорсстухѕԁ", "aeeijkmhopcctyxsd")
_APOSTROPHES = re.compile(r"(?<=\w)['’‘`´ʼ](?=\w)")
SHORTHAND = {
    short: tuple(long.split())
    for short, long in {
        "aint": "is not", "arent": "are not", "bc": "because", "cant": "can not", "cannot": "can not", "coz": "because",
        "couldnt": "could not", "cuz": "because", "didnt": "did not", "doesnt": "does not", "dont": "do not",
        "gf": "girlfriend", "bf": "boyfriend", "gonna": "going to", "gunna": "going to", "gotta": "have to",
        "hasnt": "has not", "havent": "have not", "hes": "he is", "hows": "how is", "id": "i would",
        "idk": "i do not know", "im": "i am", "isnt": "is not", "itll": "it will", "its": "it is", "ive": "i have",
        "kms": "kill myself", "lemme": "let me", "luv": "love", "mins": "minutes", "nd": "and", "pic": "picture",
        "pics": "pictures", "pls": "please", "plz": "please", "ppl": "people", "r": "are", "shes": "she is",
        "shouldnt": "should not", "shoulda": "should have", "sm1": "someone", "sry": "sorry", "tho": "though",
        "thats": "that is", "theres": "there is", "theyre": "they are", "tmr": "tomorrow", "tmrw": "tomorrow",
        "tn": "tonight",
        "u": "you", "ur": "your", "unalive": "kill", "wanna": "want to", "wana": "want to", "wasnt": "was not",
        "weve": "we have", "whats": "what is", "whos": "who is", "wont": "will not", "wouldnt": "would not",
        "ya": "you", "yall": "you", "yo": "years old", "yr": "year", "yrs": "years", "youre": "you are",
        "youve": "you have",
    }.items()
}  # fmt: skip
_STRETCH = 48  # words of a longer utterance that are judged together


def stretches(text: str) -> list[tuple[str, ...]]:
    """The words of an utterance; of a long one those of stretches that overlap by half."""
    said = words(plain(text))
    starts = range(0, max(1, len(said) - _STRETCH // 2), _STRETCH // 2)
    return [said[start : start + _STRETCH] for start in starts if said]


def plain(text: str) -> str:
    """Lower case without accents, invisible signs, letters that are stretched, spaced out or replaced by signs."""
    visible = "".join(sign for sign in unicodedata.normalize("NFKD", text[:_LONGEST]) if _is_visible(sign))
    lower = _APOSTROPHES.sub("", _with_latin_letters(visible.casefold()))
    together = _SPACED_OUT.sub(lambda found: re.sub(r"[^\w]|_", "", found[0]), lower)
    unmasked = _MASKED.sub("", _WITHIN.sub(lambda found: found[0].translate(_LEET), together))
    return _STRETCHED.sub(r"\1\1", unmasked)


def words(text: str) -> tuple[str, ...]:
    """The words of a plain text, shorthand written out."""
    return tuple(word for found in _WORD.findall(text) for word in SHORTHAND.get(found, (found,)))


def _is_visible(sign: str) -> bool:
    return unicodedata.category(sign) not in ("Mn", "Cf")


def _with_latin_letters(text: str) -> str:
    mixed = any("a" <= sign <= "z" for sign in text) and not text.isascii()
    return text.translate(_LOOKALIKES) if mixed else text
