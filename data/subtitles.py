"""Cues -> utterances -> question-answer pairs, by the rule of the SubTle corpus (Ameixa & Coheur, 2013).

A cue is what stands on the screen at once; an utterance is what one speaker says: a part of a cue, or a sentence that
runs over several. Two utterances are a pair when the second follows within `max_gap` seconds.
Knows nothing of who speaks but what dashes and labels tell.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import regex

from data.cleaning import normalise, share_of_common_words
from data.corpus import DocumentError
from data.formats.cues import Cue, is_in_capitals

MIN_ENGLISH = 0.15  # share of common English words below which a film is in another language
MIN_WORDS_TO_JUDGE = 50

_SOUND = regex.compile(r"\[[^\[\]]*(?:\]|$)|\([^()]*(?:\)|$)|^[^\[\(]*[\]\)]")
_MUSIC = regex.compile(
    r"[♪♫♩♬¶]|â™[ª«]|^[^\S\n]*(?:#(?!\d)|[*~].*[*~][^\S\n]*$|[Jj][&Jj]\s)|#[^\S\n]*$", regex.MULTILINE
)
_LABEL = regex.compile(
    r"^\s*(?:\p{Lu}[\p{Lu}\d .'&/#-]{1,30}|\p{Lu}[\w'.-]*(?: (?:\p{Lu}[\w'.-]*|\d+|the|and|of)){0,3}) ?:(?:\s+|$)"
)
_DASH = regex.compile(r"^\s*(?:[-‐‑–—_•]\s*(?=[^\s\d–—-])|[-‐‑–—]\s+|>{2,}\s*)")
_DASH_WITHIN = regex.compile(r"(?<=[.?!][\"']?)\s+[-–—]\s*(?=[\"']?\p{Lu})|(?<!\s)\s*>{2,}\s*")
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
_TRAILING = regex.compile(r"(?<! ) *(?:(?<!\.)\.{2,}|(?<!-)-+)[\"']*$")
_LEADING = regex.compile(r"^[\"' ]*(?:\.{2,}|-+(?!\d))\s*")
_LOWER_START = regex.compile(r"^[\"']?\p{Ll}")


@dataclass(frozen=True, slots=True)
class Speech:
    """What one speaker says between `start` and `end`; `opens` when a dash or a label shows a new speaker."""

    start: float
    end: float
    text: str
    opens: bool


def read_pairs(cues: Iterable[Cue], max_gap: float, dropped: Counter[str]) -> Iterator[tuple[str, str]]:
    """Question-answer pairs of adjacent utterances; `dropped` counts what was left out, by reason.

    Raises DocumentError where the film is not in English, or there are none.
    """
    speeches = list(join_sentences(read_speeches(cues, dropped), max_gap))
    _require_english(speeches)
    found = False
    for question, answer in pairwise(speeches):
        if answer.start - question.end > max_gap:
            dropped["followed by a pause"] += 1
        else:
            found = True
            yield question.text, answer.text
    if not found:
        raise DocumentError("holds no utterance that answers another")


def read_speeches(cues: Iterable[Cue], dropped: Counter[str]) -> Iterator[Speech]:
    """The speech in each cue, cleaned, one speaker at a time."""
    for cue in cues:
        text = _SOUND.sub(" ", cue.text)
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


def _why_no_speech(raw: str, spoken: str) -> str | None:
    if _ADVERT.search(raw):
        return "advertising"
    if _MUSIC.search(raw):
        return "lyrics"
    words = _LABEL.sub("", spoken)
    if not any(character.isalnum() for character in words):
        return "sound or caption" if any(map(str.isalpha, raw)) else "no words"
    if " " in words.strip() and is_in_capitals(words):
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
