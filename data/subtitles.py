"""Subtitles -> cues -> utterances -> question-answer pairs, by the rule of the SubTle corpus (Ameixa & Coheur, 2013).

A cue is what stands on the screen at once; an utterance is what one speaker says: a part of a cue, or a sentence that
runs over several. Two utterances are a pair when the second follows within `max_gap` seconds.
Knows nothing of who speaks but what dashes and labels tell.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pysubs2
import regex

from data.cleaning import in_sentence_case, normalise, share_of_common_words
from data.corpus import DocumentError

UNKNOWN = math.nan  # the time of a cue that has none
MIN_ENGLISH = 0.15  # share of common English words below which a film is in another language
MIN_WORDS_TO_JUDGE = 50

_STAMP = regex.compile(r"(?:\d{1,2}:)?\d{1,2}:\d{1,2}[.,]\d{1,3}")
_MARKUP = regex.compile(r"<[^<>\n]*>|\{[^{}\n]*\}|\\h|<[/a-zA-Z][^<>]{0,20}$")
_SOUND = regex.compile(r"\[[^\[\]]*(?:\]|$)|\([^()]*(?:\)|$)|^[^\[\(]*[\]\)]")
_MUSIC = regex.compile(r"[♪♫♩♬¶]|â™[ª«]|^\s*(?:#(?!\d)|[*~].*[*~]\s*$|[Jj][&Jj]\s)|#\s*$", regex.MULTILINE)
_LABEL = regex.compile(
    r"^\s*(?:\p{Lu}[\p{Lu}\d .'&/#-]{1,30}|\p{Lu}[\w'.-]*(?: (?:\p{Lu}[\w'.-]*|\d+|the|and|of)){0,3}) ?:(?:\s+|$)"
)
_DASH = regex.compile(r"^\s*(?:[-‐‑–—_•]\s*(?=[^\s\d–—-])|[-‐‑–—]\s+|>{2,3}\s*)")
_DASH_WITHIN = regex.compile(r"(?<=[.?!][\"']?)\s+[-–—]\s*(?=[\"']?\p{Lu})")
_ADVERT = regex.compile(
    r"\b(?:subtitles?|subs|subbed|captions?|captioned|captioning|transcripts?|synch?(?:ed|ronized)?|re-?sync\w*|encoded"
    r"|ripped|corrected|corrections|translated|translation|timed|uploaded|downloaded|adapted|proofread)\s*"
    r"(?:(?:&|and|\+)\s*\w+\s*)?(?:by\b|:|from\b)"
    r"|\bsubtitl(?:e|ing)\s*(?:edit|workshop|team|group)|\b(?:english|bluray|dvd|hdtv|web)[ -]?(?:subtitles?|rip)\b"
    r"|open ?subtitles|addic7ed|subscene|yify|\byts\b|tvsubtitles|podnapisi|napisy|\bforom\b|titlovi|sous-titres"
    r"|become (?:a )?vip member|advertise your product|remove all ads|watch (?:any )?(?:video|movie)s? online"
    r"|https?:|www\.|\w\.(?:com|org|net|tv|info)\b|\bsubrip\b|closed.caption|\bwgbh\b|\bvitac\b"
    r"|all rights reserved|==",
    regex.IGNORECASE,
)
_SCANNING_SLIPS = [
    (regex.compile(r"(?<![\w'])l(?='(?:m|ll|ve|d|s)\b)|(?<![\w'])l(?=[\s,.?!]|$)"), "I"),
    (regex.compile(r"\bl(?=[tnfs]\b|t's?\b|sn't\b|t'll\b|nto\b|nside\b|nstead\b|ndeed\b|mpossible\b)"), "I"),
    (regex.compile(r"(?<=\p{Lu})l(?=\p{Lu})|\bl(?=\p{Lu}{2})|(?<=\p{Lu}{2})l\b"), "I"),
    (regex.compile(r"(?<=\p{Ll})II\b"), "ll"),
    (regex.compile(r"(?<=\p{Ll})I(?=\p{Ll})|\bI(?=[aeiou]\p{Ll}{2})(?!owa|ago|one)"), "l"),
    (regex.compile(r"(?<=\p{L})''|''(?=\p{L})"), '"'),
]
_FINISHED = regex.compile(r"(?:[!?]\.*|(?<!\.)\.)[\"')]*$")
_TRAILING = regex.compile(r"[ ]*(?:\.{2,}|-+)[\"']*$")
_LEADING = regex.compile(r"^[\"' ]*(?:\.{2,}|-+(?!\d))\s*")
_LOWER_START = regex.compile(r"^[\"']?\p{Ll}")


@dataclass(frozen=True, slots=True)
class Cue:
    """Text shown from `start` to `end` seconds; both NaN where the file gives no times."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Speech:
    """What one speaker says between `start` and `end`; `opens` when a dash or a label shows a new speaker."""

    start: float
    end: float
    text: str
    opens: bool


def read_cues(text: str, form: str) -> list[Cue]:
    """The cues of a subtitle file in order of time; `form` is srt, vtt, xml (OPUS) or lines (OPUS without times).

    Raises DocumentError where there are none.
    """
    cues = list(_FORMS[form](text))
    if not cues:
        raise DocumentError("holds no subtitle cues")
    if _is_in_capitals(" ".join(cue.text for cue in cues)):
        cues = [replace(cue, text=in_sentence_case(cue.text)) for cue in cues]
    return cues


def read_pairs(cues: Iterable[Cue], max_gap: float, dropped: Counter[str]) -> Iterator[tuple[str, str]]:
    """Question-answer pairs of adjacent utterances; `dropped` counts what was left out, by reason.

    Raises DocumentError where the film is not in English.
    """
    speeches = list(join_sentences(read_speeches(cues, dropped), max_gap))
    _require_english(speeches)
    for question, answer in pairwise(speeches):
        if answer.start - question.end > max_gap:
            dropped["followed by a pause"] += 1
        else:
            yield question.text, answer.text


def read_speeches(cues: Iterable[Cue], dropped: Counter[str]) -> Iterator[Speech]:
    """The speech in each cue, cleaned, one speaker at a time."""
    for cue in cues:
        text = _SOUND.sub(" ", _MARKUP.sub("", cue.text))
        if reason := _why_no_speech(cue.text, text):
            dropped[reason] += 1
            continue
        for place, (words, opens) in enumerate(_split_speakers(text)):
            yield Speech(cue.end if place else cue.start, cue.end, _mend(words), opens)


def join_sentences(speeches: Iterable[Speech], max_gap: float) -> Iterator[Speech]:
    """Joins a sentence that runs over several cues, and takes the marks of running on from both sides."""
    before: Speech | None = None
    for speech in speeches:
        if before and _goes_on(before, speech, max_gap):
            before = replace(before, end=speech.end, text=_joined(before.text, speech.text))
            continue
        if before:
            yield before
        before = replace(speech, text=_LEADING.sub("", speech.text))
    if before:
        yield before


def _timed_cues(text: str, form: str) -> Iterator[Cue]:
    try:
        events = pysubs2.SSAFile.from_string(_with_both_times(text), format_=form, keep_html_tags=True)
    except (ValueError, pysubs2.Pysubs2Error) as error:
        raise DocumentError("not readable as subtitles") from error
    # Times out of order are slips of the keyboard: sorting by start keeps neighbours together.
    for event in sorted(events, key=lambda event: event.start):
        words = event.text.split(r"\N\N")[0] if form == "vtt" else event.text
        yield Cue(event.start / 1000, event.end / 1000, words.replace(r"\N", "\n").replace(r"\n", "\n"))


def _untimed_cues(text: str) -> Iterator[Cue]:
    return (Cue(UNKNOWN, UNKNOWN, line) for line in text.split("\n") if line.strip())


def _with_both_times(text: str) -> str:
    """Gives an arrow line that lacks a time the one it has, or the last one seen."""
    last = "00:00:00,000"
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if "-->" in line:
            stamps = _STAMP.findall(line) or [last]
            last = stamps[-1]
            if len(stamps) == 1:
                lines[place] = f"{last} --> {last}"
    return "\n".join(lines)


def _opus_cues(text: str) -> Iterator[Cue]:
    """Sentences of an OPUS document, raw or split into words; a sentence without times shares those before it."""
    start = end = UNKNOWN
    for sentence in _sentences(text):
        times = [(time.get("id", "")[-1:], _seconds(time.get("value", ""))) for time in sentence.iter("time")]
        start = next((value for side, value in times if side == "S"), end if times else start)
        end = next((value for side, value in reversed(times) if side == "E"), start)
        words = [word.text or "" for word in sentence.iter("w")]
        yield Cue(start, end, " ".join(words) if words else "".join(sentence.itertext()).strip())


def _sentences(text: str) -> Iterator[ElementTree.Element]:
    parser: Any = ElementTree.XMLPullParser(events=("end",))
    with suppress(ElementTree.ParseError):  # what was read before a fault is good
        parser.feed(text)
    with suppress(ElementTree.ParseError):  # which the events end with
        for _, element in parser.read_events():
            if element.tag == "s":
                yield element


def _seconds(stamp: str) -> float:
    parts = regex.findall(r"\d+", stamp)
    if len(parts) < 3:
        return UNKNOWN
    hours, minutes, seconds, *thousandths = (int(part) for part in parts[:4])
    return hours * 3600 + minutes * 60 + seconds + sum(thousandths) / 1000


def _is_in_capitals(text: str) -> bool:
    upper = sum(map(str.isupper, text))
    return upper > 8 and upper > 2 * sum(map(str.islower, text))


def _why_no_speech(raw: str, spoken: str) -> str | None:
    if _ADVERT.search(raw):
        return "advertising"
    if _MUSIC.search(raw):
        return "lyrics"
    words = _LABEL.sub("", spoken)
    if not any(character.isalnum() for character in words):
        return "sound or caption" if any(map(str.isalpha, raw)) else "no words"
    if " " in words.strip() and _is_in_capitals(words):
        return "text on screen"
    return None


def _split_speakers(text: str) -> Iterator[tuple[str, bool]]:
    """The words of each speaker in a cue, and whether a dash or a label shows that a new one begins."""
    parts: list[tuple[list[str], bool]] = []
    for line in _DASH_WITHIN.sub("\n- ", text).split("\n"):
        undashed = _DASH.sub("", line)
        words = _LABEL.sub("", undashed)
        if words != line or not parts:
            parts.append(([words], words != line))
        else:
            parts[-1][0].append(words)
    for lines, opens in parts:
        if any(map(str.isalnum, words := " ".join(lines))):
            yield words, opens


def _mend(text: str) -> str:
    for slip, letter in _SCANNING_SLIPS:
        text = slip.sub(letter, text)
    return normalise(text)


def _goes_on(before: Speech, after: Speech, max_gap: float) -> bool:
    if after.opens or after.start - before.end > max_gap or _FINISHED.search(before.text):
        return False
    if _TRAILING.search(before.text):
        return bool(_LEADING.search(after.text) or _LOWER_START.search(after.text))
    return True


def _joined(before: str, after: str) -> str:
    """`I thought...` and `...we could` make one run; dots without an answer stay."""
    return f"{_TRAILING.sub('', before)} {_LEADING.sub('', after)}" if _LEADING.search(after) else f"{before} {after}"


def _require_english(speeches: Iterable[Speech]) -> None:
    words = [word.strip('.,!?-"') for speech in speeches for word in speech.text.lower().split()]
    if len(words) >= MIN_WORDS_TO_JUDGE and share_of_common_words(words) < MIN_ENGLISH:
        raise DocumentError("not in English")


_FORMS: dict[str, Callable[[str], Iterator[Cue]]] = {
    "srt": lambda text: _timed_cues(text, "srt"),
    "vtt": lambda text: _timed_cues(text, "vtt"),
    "xml": _opus_cues,
    "lines": _untimed_cues,
}
