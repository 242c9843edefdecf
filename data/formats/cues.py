"""Subtitle files -> cues: SubRip, WebVTT, and what OPUS makes of them.

A cue comes without markup, and with the letters that its entities stand for. Captions that roll up the screen repeat
each line until it has gone; here it comes once.
"""

import html
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from xml.etree import ElementTree

import regex

from data.cleaning import in_sentence_case
from data.corpus import DocumentError

UNKNOWN = math.nan  # the time of a cue that has none
MAX_TIME_LINE = 200  # characters
ROLLING_SHARE = 0.25  # of the cues of a file begin with lines of the cue before, where captions roll
ROLLING_GAP = 1.0  # seconds after which a line that comes again is said again

_SIGNS = str.maketrans({"。": ".", "،": ",", "٫": ",", "−": "-", "‐": "-", "‑": "-", "–": "-", "—": "-", "―": "-"})
_INVISIBLE = regex.compile(r"\p{Cf}")
_SPACED_SIGN = regex.compile(r"\s*([:.,;])\s*")
_STAMP = r"-? ?(?:\d+:\d+:\d+(?:[.,:;]\d+)?|\d+:\d+[.,]\d+)"
_TIME = regex.compile(r"(-?) ?(?:(\d+):)?(\d+):(\d+)(?:[.,:;](\d+))?")
_ARROW = r"\s*(?:[-=~](?:\s*[-=~])*\s*>+|[→➔⇒])\s*"
_MAY_BE_TIME = regex.compile(rf"\d\s*[:：]|{_ARROW}|[＞﹥]|&gt;")
_TIME_LINE = regex.compile(
    rf"\s*({_STAMP})(?:{_ARROW}|\s*-+\s*|,|\s+)({_STAMP})(?:\s+[\w-]+:\S+)*\s*|\s*({_STAMP}){_ARROW}|{_ARROW}({_STAMP})\s*"
)
_TIMES_AND_TEXT = regex.compile(rf"\s*(\[?)({_STAMP}){_ARROW}({_STAMP})(?:\]|(?!\S))(.*)")
# What was meant as a time line: an arrow with two colons on a side of it, or just an arrow where a cue begins.
_BROKEN = regex.compile(rf"\W*\d+:+\d+:+.*{_ARROW}|\S{{0,20}}{_ARROW}\W*\d+:+\d+:+\d")
_BROKEN_AT_START = regex.compile(rf"{_ARROW}$|\W*\d[\d:]*:.*{_ARROW}|.*{_ARROW}\W*\d[\d:]*:|\W*\d+:+\d+:+\d+[.,:;]\d")
_MARKUP = regex.compile(r"<[^<>\n]*>|\{[^{}\n]*\}|\\h|<[/a-zA-Z][^<>]{0,20}$|\{\\[^{}\s]*$")
_DRAWING = regex.compile(
    r"\{(?=[^{}]*\\p[1-9])[^{}]*+\}.*?(?:\{(?=[^{}]*\\p0)[^{}]*+\}|\Z)"
    r"|(?m:^[^\S\n]*m(?: +-?\d+(?:\.\d+)?){2}(?: +(?:[mnlbspc]|-?\d++(?:\.\d++)?))++ *$)",
    regex.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Cue:
    """Text shown from `start` to `end` seconds; both NaN where the file gives no times."""

    start: float
    end: float
    text: str


def read_cues(text: str, form: str, dropped: Counter[str]) -> list[Cue]:
    """The cues of a subtitle file in order of time; `form` is srt, vtt, xml (OPUS) or lines (OPUS without times).

    `dropped` counts the cues whose time cannot be read. Raises DocumentError where no cue is left.
    """
    cues = [replace(cue, text=_without_markup(cue.text)) for cue in _FORMS[form](text, dropped)]
    if not cues:
        raise DocumentError("holds no subtitle cues")
    if is_in_capitals(" ".join(cue.text for cue in cues)):
        cues = [replace(cue, text=in_sentence_case(cue.text)) for cue in cues]
    return _each_line_once(cues)


def is_in_capitals(text: str) -> bool:
    """Whether most letters are capitals, and there are enough to tell."""
    upper = sum(map(str.isupper, text))
    return upper > 8 and upper > 2 * sum(map(str.islower, text))


def _without_markup(text: str) -> str:
    text = _MARKUP.sub("", _DRAWING.sub("", text))
    return html.unescape(html.unescape(text))  # some files escape what is escaped


def _timed_cues(text: str, dropped: Counter[str], ends_at_blank: bool) -> list[Cue]:
    """The cues in order of their starts: times out of order are slips, and neighbours stay together so."""
    cues = []
    for start, end, lines in _blocks(text):
        if math.isnan(start):
            dropped["unreadable time"] += 1
            continue
        words = lines[: lines.index("")] if ends_at_blank and "" in lines else _without_number(lines)
        cues.append(Cue(start, end, "\n".join(words).strip().replace(r"\N", "\n").replace(r"\n", "\n")))
    return sorted(cues, key=lambda cue: cue.start)


def _blocks(text: str) -> Iterator[tuple[float, float, list[str]]]:
    """The times of each cue, NaN where they cannot be read, and the lines up to the next one's times."""
    block: tuple[float, float, list[str]] | None = None
    may_begin = True  # whether a cue may begin here: after a blank line or a number
    for line in text.split("\n"):
        if found := _block_of(line, may_begin):
            if block:
                yield block
            block, may_begin = found, False
        else:
            if block:
                block[2].append(line)
            may_begin = not line.strip() or line.strip().isdigit()
    if block:
        yield *block[:2], [*block[2], ""]


def _block_of(line: str, may_begin: bool) -> tuple[float, float, list[str]] | None:
    """What a time line begins, or a line that was meant as one; None for any other line."""
    if len(line) > MAX_TIME_LINE or not _MAY_BE_TIME.search(line):
        return None
    line = _SPACED_SIGN.sub(r"\1", _in_plain_signs(line))
    if match := _TIME_LINE.fullmatch(line):
        start, *_, end = [_seconds(stamp) for stamp in match.groups() if stamp] * 2
        return start, end, []
    if (match := _TIMES_AND_TEXT.match(line)) and (may_begin or match[1]):
        return _seconds(match[2]), _seconds(match[3]), [match[4]]
    is_broken = _BROKEN.match(line) or (may_begin and _BROKEN_AT_START.match(line))
    return (UNKNOWN, UNKNOWN, []) if is_broken else None


def _in_plain_signs(line: str) -> str:
    """The line with ASCII signs in place of fullwidth and other forms of them, and without what is invisible."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", html.unescape(line)).translate(_SIGNS))


def _seconds(stamp: str) -> float:
    match = _TIME.search(stamp)
    if not match:
        return UNKNOWN
    sign, hours, minutes, seconds, fraction = match.groups()
    value = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction or 0) / 10 ** len(fraction or "")
    return -value if sign else value


def _without_number(lines: list[str]) -> list[str]:
    """The lines without the number of the next cue: digits right before its times, or between blank lines."""
    words = lines.copy()
    while words and not words[-1].strip():
        words.pop()
    is_apart = len(words) == len(lines) or (len(words) > 1 and not words[-2].strip())
    return words[:-1] if words and words[-1].strip().isdigit() and is_apart else words


def _each_line_once(cues: list[Cue]) -> list[Cue]:
    """The cues without the lines that were on the screen already, where captions roll."""
    before: list[str] = []
    end = UNKNOWN
    rolled = []
    for cue in cues:
        lines = [" ".join(line.split()) for line in cue.text.split("\n") if line.strip()]
        fresh = _not_shown(before, lines) if cue.start - end <= ROLLING_GAP else lines
        rolled.append((replace(cue, text="\n".join(fresh)), fresh != lines))
        before, end = lines or before, cue.end
    again = sum(is_again for _, is_again in rolled)
    if again < max(2, ROLLING_SHARE * len(cues)):
        return cues
    return [cue for cue, is_again in rolled if cue.text or not is_again]


def _not_shown(before: Sequence[str], lines: list[str]) -> list[str]:
    """What is new of the lines on the screen after others, of which the last may have grown at its end."""
    for size in range(min(len(before), len(lines)), 0, -1):
        *same, last = before[-size:]
        grown = lines[size - 1]
        if same == lines[: size - 1] and f"{grown} ".startswith(f"{last} "):
            rest = grown[len(last) :].strip()
            return [rest] * bool(rest) + lines[size:]
    return lines


def _untimed_cues(text: str, _: Counter[str]) -> list[Cue]:
    return [Cue(UNKNOWN, UNKNOWN, line) for line in text.split("\n") if line.strip()]


def _opus_cues(text: str, _: Counter[str]) -> Iterator[Cue]:
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


_FORMS: dict[str, Callable[[str, Counter[str]], Iterable[Cue]]] = {
    "srt": partial(_timed_cues, ends_at_blank=False),
    "vtt": partial(_timed_cues, ends_at_blank=True),
    "xml": _opus_cues,
    "lines": _untimed_cues,
}
