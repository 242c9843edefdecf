"""The encoding of a file, told by its bytes; a file that cannot be told for certain is refused rather than misread.

The code pages of Windows and of ISO differ in a few letters only, so a file in any of them reads as some text in every
other. Which reading is right is told by the letters of the languages that each code page was made for.
"""

import codecs
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import charset_normalizer
import regex

SAMPLE_BYTES = 1 << 16
MAX_STRAYS = 0.02  # share of what is not ASCII that may be slips, or letters of other languages, in names mostly
MIN_ENGLISH = 0.1  # share of the commonest English words
MIN_COHERENCE = 0.3  # of charset-normalizer, below which a language is not recognised

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TEXT_CONTROLS = b"\t\n\x0b\x0c\r\x1b"
_WORD = regex.compile(r"\p{L}+")
_ACCENTED = regex.compile(r"[\p{L}--[\x00-\x7fªºµ]]", regex.V1)
# What no writer puts together: controls, a capital within a word, a sign before or after a letter. It shows that the
# bytes mean something else.
_MISREAD = regex.compile(
    r"[\p{Cc}\p{Co}\p{Cn}--[\t\n\v\f\r\x1b]]|\p{Ll}[\p{Lu}--[A-Z]]|[\p{Lu}--[A-Z]][A-Z]\p{Ll}"
    r"|[ªº¹²³¼½¾©®±¶¸¨¯¬¦¤£¥§ˆ˜∂∆∏∑√∞∫≈≠≤≥◊]\p{L}|\p{L}[¿¡‚„¹¤¦¬±¶¸£¥§€ˆ˜∂∆∏∑√∞∫≈≠≤≥◊]",
    regex.V1,
)
_MIXED_SCRIPTS = regex.compile(r"\p{Latin}[\p{L}--\p{Latin}]|[\p{L}--\p{Latin}]\p{Latin}", regex.V1)


class _Language(NamedTuple):
    """Its code pages, its letters beyond a to z, and its commonest words."""

    encodings: tuple[str, ...]
    letters: str
    words: frozenset[str]


def _language(encodings: str, letters: str, words: str) -> _Language:
    return _Language(tuple(encodings.split()), letters, frozenset(words.split()))


_ENGLISH = _language(
    "cp1252 iso8859-15 mac_roman",
    "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœß",
    "the and you that is it of what this for not are how have your can with they there my",
)
_LANGUAGES = (
    _language("cp1252", "äöüß", "der die und das ist nicht ich wir sie ein mit zu den es auf für im guten"),
    _language("cp1252 iso8859-15", "àâæçéèêëîïôùûüœ", "la le les et est je vous nous que un une pas pour il en dans"),
    _language("cp1252", "áéíóúñü", "de la que el en los se por un una con para no es está muy cómo"),
    _language("cp1252", "áâãàçéêíóôõúü", "de que o a e do da em um uma para não com é os você muito está"),
    _language("cp1252", "àèéìòùî", "di che la il non per un una è sono con mi si lo ho più perché grazie come"),
    _language("cp1252", "áàçèéíïòóúü", "de la que el i en no un una per amb és els les què com"),
    _language("cp1252", "éëïöüèêáó", "de het een en van ik is dat niet je we met op voor zijn te"),
    _language("cp1252", "åäöéà", "och att det är i en jag inte som vi på för har du ett med var"),
    _language("cp1252", "æøåéòóô", "og det er i en jeg ikke at vi på for har du et med den til"),
    _language("cp1252", "äöå", "ja on ei se että hän minä mutta ole tämä kun niin mitä sen"),
    _language("cp1252", "áðéíóúýþæö", "og að er ekki það ég sem til við á í hann þú var"),
    _language("cp1252 cp1250", "ëç", "dhe të në për është nuk me një që unë ka i e"),
    _language("cp1250 iso8859-2", "ąćęłńóśźż", "nie się w i na to jest że do z co jak ja czy za tak moja"),
    _language("cp1250 iso8859-2", "áčďéěíňóřšťúůýž", "a je se to na v že jsem si ne jak co ale dobrý za by už"),
    _language("cp1250 iso8859-2", "áäčďéíľňóôšťúýž", "a je sa to na v že som si nie ako čo ale dobrý za by už"),
    _language("cp1250 iso8859-2", "áéíóöőúüű", "a az és nem hogy van egy ez meg is de el jó igen mit hol"),
    _language("cp1250 iso8859-2", "čćđšž", "je i da u se na to ne sam što li za kako hvala dan smo"),
    _language("cp1250 iso8859-2", "ăâîşţ", "de și şi nu este a la în un o că cu ce sunt am pe"),
    _language("cp1254", "çğıöşüâîû", "ve bir bu da de için mi ne çok var ben evet değil ama nerede teşekkür"),
    _language("cp1257", "ąčęėįšųūž", "ir yra ne kad į tai aš su kaip bet iš jis ačiū labai"),
    _language("cp1257", "āčēģīķļņšūž", "un ir ne ka uz tas es ar kā bet no man paldies labi"),
    _language("cp1257 cp1252", "äõöüš", "ja on ei see et ta ma kui aga mis ka oli ma"),
)
_OTHER_SCRIPTS = (
    *("cp1251", "koi8_r", "koi8_u", "iso8859_5", "cp866", "cp1253", "iso8859_7", "cp1255", "cp1256", "cp874"),
    *("gb18030", "big5", "cp932", "euc_jp", "cp949"),
)


class UnknownEncodingError(ValueError):
    """Bytes that are no text, or text in no encoding that can be told for certain."""


def encoding_of(content: bytes) -> str:
    """The encoding of text that may be cut in mid-character at its end.

    Text in UTF-8 with a few bytes that do not belong there is UTF-8. Raises UnknownEncodingError.
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    if wide := _wide_encoding(content[: SAMPLE_BYTES // 2 * 2]):
        return wide
    if _is_binary(content):
        raise UnknownEncodingError("binary, not text")
    return "utf-8" if _is_utf8(content) else _code_page(_sample(content))


def _wide_encoding(content: bytes) -> str | None:
    """UTF-16 without a mark: read with its bytes in the wrong order, it has next to no spaces and line ends."""
    if 0 not in content:
        return None
    spaces = {}
    for name in ("utf-16-le", "utf-16-be"):
        text = _decoded(content, name)
        if text is not None and not any(control in text for control in "\0\1\2\3\4\5"):
            spaces[name] = sum(map(text.count, " \n")) / max(1, len(text))
    best = max(spaces, key=spaces.__getitem__, default=None)
    return best if best and spaces[best] > 0.01 else None


def _is_binary(content: bytes) -> bool:
    control = sum(content.count(byte) for byte in range(32) if byte not in _TEXT_CONTROLS)
    return control > len(content) // 100


def _is_utf8(content: bytes) -> bool:
    """Whether most of what is not ASCII reads as UTF-8; in any other encoding hardly anything does."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(content)
    bad = text.count("\ufffd") - content.count("\ufffd".encode())
    good = len(text) - len(text.encode("ascii", "ignore")) - bad
    return content.isascii() or good >= max(1, bad)


def _decoded(content: bytes, encoding: str) -> str | None:
    """The text, without a character cut at its end; None where the bytes are none in this encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return None


def _sample(content: bytes) -> bytes:
    """The lines that tell encodings apart, and some of those around them."""
    telling = b"\n".join(line for line in content.split(b"\n") if not line.isascii())
    return telling[:SAMPLE_BYTES] + b"\n" + content[:SAMPLE_BYTES]


def _code_page(sample: bytes) -> str:
    """Raises UnknownEncodingError where no reading is sound, or several are and none is likelier by far."""
    for reading in _sound_readings(sample, [_ENGLISH]):
        if reading.hits > MIN_ENGLISH * len(reading.words):
            return reading.encoding
    readings = sorted(_sound_readings(sample, _LANGUAGES), key=lambda reading: reading.hits, reverse=True)
    if not readings:
        return _of_other_script(sample)
    first = readings[0]
    if any(other.hits * 2 >= first.hits for other in readings if other.text != first.text):
        raise UnknownEncodingError("of unknown encoding (save it as UTF-8)")
    return first.encoding


class _Reading(NamedTuple):
    """What the bytes may say in a language."""

    encoding: str
    text: str
    words: list[str]
    hits: int  # how many of the words are among the commonest of the language


def _sound_readings(sample: bytes, languages: Iterable[_Language]) -> Iterator[_Reading]:
    for language in languages:
        for encoding in language.encodings:
            text = _decoded(sample, encoding)
            if text is not None and _is_written_in(text, language.letters):
                words = _WORD.findall(text.lower())
                yield _Reading(encoding, text, words, sum(word in language.words for word in words))


def _is_written_in(text: str, letters: str) -> bool:
    accented = [letter.lower()[0] for letter in _ACCENTED.findall(text)]
    strays = sum(letter not in letters and not letter.isascii() for letter in accented)
    signs = len(text) - len(text.encode("ascii", "ignore"))
    return strays + len(_MISREAD.findall(text)) <= MAX_STRAYS * signs


def _of_other_script(sample: bytes) -> str:
    """The encoding of text in other than Latin letters."""
    best = charset_normalizer.from_bytes(sample, cp_isolation=list(_OTHER_SCRIPTS)).best()
    if best is None or best.coherence < MIN_COHERENCE or _MIXED_SCRIPTS.search(str(best)):
        raise UnknownEncodingError("of unknown encoding (save it as UTF-8)")
    return best.encoding
