"""The order in which the messages of a log were said: by times in whatever format, and by what answers what.

A log may stand newest first, with times that are whole minutes; then the whole of it is turned round.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from itertools import chain, islice, pairwise
from math import isfinite

import regex
from dateutil import parser

from data.corpus import DocumentError
from data.formats.dialogue import MAX_LINES_A_DIALOGUE, Message

MAX_HELD_BYTES = 1 << 27  # of conversations whose messages are scattered over a log, about
MAX_TIME = 100  # characters
MESSAGE_BYTES = 300  # that a message takes besides its text
_LOOKED_AT = 20_000  # rows by which to tell in which order a log stands

_DAY_MONTH = regex.compile(r"\b(\d{1,2})[./-](\d{1,2})[./-](?:\d{4}|\d{2})\b")
_YEAR_FIRST = regex.compile(r"^\D*\d{4}\b")
_MONTH = r"(?<!\p{L})(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_DATE = regex.compile(rf"\d[./-]\d{{1,2}}[./-]\d|\d.*{_MONTH}|{_MONTH}.*\d", regex.IGNORECASE)
_CLOCK = regex.compile(r"\b(\d{1,2}):(\d\d)(?::(\d\d))?(?:\s*([ap])\.?\s?m\b)?", regex.IGNORECASE)
_DOTTED_CLOCK = regex.compile(r"(?<=\s)(\d{1,2})\.(\d\d)(?:\.(\d\d))?$")
_NOON = regex.compile(r"\d\s?[ap]\.?\s?m\b", regex.IGNORECASE)  # as Americans write times, who name months first

_SPANS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2592000, "year": 31536000}
_AGO = regex.compile(rf"(\d+) ({'|'.join(_SPANS)})s? ago", regex.IGNORECASE)
_KIND = regex.compile(r"^t\d_")  # Reddit's sign of a comment or a post before an id

Row = tuple[Message, ...]  # what a row of a log says: mostly one message, or a question and its answer


Reply = tuple[str, str, Message]  # a message's id, the id of what it answers (empty where it opens), and it


@dataclass(frozen=True, slots=True)
class Order:
    """How a log writes dates, and whether it stands newest first."""

    day_first: bool = False
    newest_first: bool = False

    def put(self, rows: Sequence[Row]) -> list[Message]:
        """The messages of one conversation, oldest first: by their times where all have one."""
        standing = rows[::-1] if self.newest_first else rows
        times = [time for row in standing if (time := seconds(row[0].time, self.day_first)) is not None]
        if len(times) == len(standing):
            standing = [row for _, row in sorted(zip(times, standing, strict=True), key=lambda timed: timed[0])]
        return list(chain.from_iterable(standing))


def order_of(conversations: Collection[Sequence[Row]]) -> Order:
    """The order in which most neighbours of a conversation stand; without a sign of it, most neighbours of the log.

    Dates that could be of two kinds (1/2/2024) are taken as those that leave the log in better order.
    """
    stamps = [row[0].time for row in islice(chain.from_iterable(conversations), _LOOKED_AT)]
    within = (pairwise([row[0].time for row in rows]) for rows in conversations)
    neighbours = list(islice(chain.from_iterable(within), _LOOKED_AT))
    across = list(islice(pairwise([rows[-1][0].time for rows in conversations if rows]), _LOOKED_AT))
    day_first = _is_day_first(stamps)
    if day_first is None:
        signs = {guess: min(_signs(neighbours, guess)) for guess in (False, True)}
        day_first = signs[True] < signs[False] or (signs[True] == signs[False] and not any(map(_NOON.search, stamps)))
    forward, backward = _signs(neighbours, day_first)
    if not forward + backward:
        forward, backward = _signs(across, day_first)
    return Order(day_first, backward > forward)


def _signs(neighbours: Iterable[tuple[str, str]], day_first: bool) -> tuple[int, int]:
    """How many neighbours stand oldest first, and how many newest first."""
    compared = [_compare(*pair, day_first) for pair in neighbours]
    return compared.count(-1), compared.count(1)


def in_order(rows: Sequence[Row]) -> list[Message]:
    """The messages of a conversation that stands by itself."""
    is_timed = any(message.time for row in rows for message in row)
    return order_of([rows]).put(rows) if is_timed else list(chain.from_iterable(rows))


def by_conversation(rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, list[Message]]]:
    """The messages of each conversation in their order, wherever in a log they stand.

    What is held is bounded: of too much, the conversation that has been silent for longest is taken as ended. What a
    log held before it broke off is not lost.
    """
    held: dict[str, list[Row]] = {}
    size, broken, order = 0, None, None
    try:
        for conversation, row in rows:
            held[conversation] = said = held.pop(conversation, [])  # who spoke last stands last
            said.append(row)
            size += _size(row)
            is_full = len(said) >= MAX_LINES_A_DIALOGUE
            if is_full or size > MAX_HELD_BYTES:
                order = order or order_of(held.values())
                ended = conversation if is_full else next(iter(held))
                size -= sum(map(_size, held[ended]))
                yield ended, order.put(held.pop(ended))
    except DocumentError as error:
        broken = error
    order = order or order_of(held.values())
    for conversation, said in held.items():
        yield conversation, order.put(said)
    if broken:
        raise broken


def _size(row: Row) -> int:
    return sum(MESSAGE_BYTES + len(message.text) for message in row)


@lru_cache(1 << 16)
def seconds(time: str, day_first: bool = False) -> float | None:
    """A time as seconds; None if it names no day, so that nothing is sorted by a guess."""
    time = _plain(time[:MAX_TIME])
    with suppress(ValueError):
        return float(time) if isfinite(float(time)) else None
    if ago := _AGO.fullmatch(time):
        return -float(ago[1]) * _SPANS[ago[2].lower()]
    if not _DATE.search(time):
        return None
    with suppress(ValueError, OverflowError, ArithmeticError, TypeError):
        if regex.search(_MONTH, time, regex.IGNORECASE) and not _NOON.search(time) and (mailed := parsedate_tz(time)):
            return float(mktime_tz(mailed))  # a twentieth of the time that any format takes
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            is_day_first = day_first and not _YEAR_FIRST.match(time)
            moment = parser.parse(time, dayfirst=is_day_first, default=datetime(2000, 1, 1), tzinfos=_offset)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _plain(time: str) -> str:
    return _DOTTED_CLOCK.sub(lambda clock: ":".join(filter(None, clock.groups())), time.strip().strip("\u200e[]()"))


def _offset(name: str | None, offset: int | None) -> int:
    """The seconds from UTC of a time zone; of one that only has a name nothing is known."""
    return offset or 0


def _compare(before: str, after: str, day_first: bool) -> int:
    """1 where the time before is the later one, -1 where it is the earlier one, 0 where that cannot be told."""
    times = seconds(before, day_first), seconds(after, day_first)
    if times[0] is not None and times[1] is not None:
        return (times[0] > times[1]) - (times[0] < times[1])
    before, after = _plain(before), _plain(after)
    clocks = [_CLOCK.search(time) for time in (before, after)]
    if clocks[0] and clocks[1] and _CLOCK.sub("", before) == _CLOCK.sub("", after):  # the same day, however written
        first, second = (_seconds_of_day(clock) for clock in clocks if clock)
        return (first > second) - (first < second)
    return 0


def _seconds_of_day(clock: "regex.Match[str]") -> int:
    hour = int(clock[1]) % 12 + 12 * (clock[4].lower() == "p") if clock[4] else int(clock[1])
    return hour * 3600 + int(clock[2]) * 60 + int(clock[3] or 0)


def _is_day_first(stamps: Iterable[str]) -> bool | None:
    """Whether 1/2/2024 is in February, as numbers beyond 12 show; None where there are none."""
    dates = [found for found in map(_DAY_MONTH.search, stamps) if found]
    days_first, months_first = (sum(int(date[place]) > 12 for date in dates) for place in (1, 2))
    return None if days_first == months_first else days_first > months_first


@dataclass(slots=True)
class _Threads:
    messages: dict[str, Message] = field(default_factory=dict)
    answers: dict[str, list[str]] = field(default_factory=dict)  # by what is answered
    size: int = 0

    def add(self, id: str, answered: str, message: Message) -> None:
        self.messages[id] = message
        self.answers.setdefault("" if answered == id else answered, []).append(id)
        self.size += MESSAGE_BYTES + len(message.text)

    def dialogues(self) -> Iterator[list[Message]]:
        """From each opening on, what was said to and fro; another answer to a message begins a dialogue with that."""
        openings = [id for answered, ids in self.answers.items() if answered not in self.messages for id in ids]
        waiting: list[list[list[str]]] = [[[id]] for id in reversed(openings)]
        while waiting:
            turns = waiting.pop()
            while (branches := self._branches(turns[-1])) and len(turns) < MAX_LINES_A_DIALOGUE:
                waiting += [[turns[-1], branch] for branch in reversed(branches[1:])]
                turns.append(branches[0])
            yield [self.messages[id] for turn in turns for id in turn]

    def _branches(self, turn: list[str]) -> list[list[str]]:
        """The answers to what one speaker said in a row, oldest first; those of one speaker are one turn again."""
        ids = dict.fromkeys(answer for id in turn for answer in self.answers.pop(id, ()))
        said = [self.messages[id]._replace(text=id) for id in ids]
        said = in_order([(message,) for message in said]) if len(said) > 1 else said
        turns: dict[str, list[str]] = {}
        for message in said:
            turns.setdefault(message.speaker or f"\n{message.text}", []).append(message.text)
        return list(turns.values())


def threads(replies: Iterable[Reply]) -> Iterator[list[Message]]:
    """The conversations of messages in any order. What is held is bounded: too many are taken as all there are."""
    held = _Threads()
    for id, answered, message in replies:
        if message.text.strip():
            held.add(_plain_id(id), _plain_id(answered), message)
        if held.size > MAX_HELD_BYTES:
            yield from held.dialogues()
            held = _Threads()
    yield from held.dialogues()


def _plain_id(id: str) -> str:
    """An id as every table writes it: one of the tables of pandas is a fraction where others are missing."""
    return _KIND.sub("", id.strip()).removesuffix(".0")
