"""What readers wrote into copies of the form, and how far they agree."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from chatbot.ssa import Mark, Marked, judgement
from training.blind.pile import Pile

MARKS = {"0": Mark(False, False), "1": Mark(True, False), "2": Mark(True, True)}
_NAME = re.compile(r"marks\.(.+)\.txt")
_LINE = re.compile(r"\s*(\d{1,6})\s*(?:\([^)]*\))?\s*:(.*)")
_MARK = re.compile(r"([012])(\*?)[\s,;]*")
_SHOWN = 10  # contexts that a sentence names


@dataclass(slots=True)
class Reader:
    """A reader's marks by context, counted from 0, each context with a mark for every reply; `faults` are sentences."""

    name: str
    marks: dict[int, tuple[Mark, ...]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class Agreement(NamedTuple):
    """Two readers of the same replies: the share that they mark alike, and Cohen's kappa (1960), which is 0 where they
    agree as often as chance would have it, and None where both gave one mark only."""

    readers: tuple[str, str]
    replies: int
    sensible: tuple[float, float | None]
    specific: tuple[float, float | None]


def read_marks(folder: Path, pile: Pile) -> list[Reader]:
    """Read every marks.NAME.txt of a folder. Raises OSError."""
    named = [(file, match[1]) for file in sorted(folder.iterdir()) if (match := _NAME.fullmatch(file.name))]
    return [_read(file, name, pile) for file, name in named]


def _read(file: Path, name: str, pile: Pile) -> Reader:
    reader = Reader(name)
    for number, line in enumerate(file.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            fault = _take(line, reader, pile)
            if fault:
                reader.faults.append(f"{file.name}, line {number}: {fault}; the line is left out.")
    missing = [str(place + 1) for place in range(len(pile.items)) if place not in reader.marks]
    if missing:
        more = " and others" if len(missing) > _SHOWN else ""
        where = f"{', '.join(missing[:_SHOWN])}{more}"
        reader.faults.append(f"{file.name} has no marks for {len(missing)} of {len(pile.items)} contexts: {where}.")
    return reader


def _take(line: str, reader: Reader, pile: Pile) -> str | None:
    """Keep the marks of a line, or say what is wrong with it; an empty line of the form is only missing."""
    match = _LINE.fullmatch(line)
    if not match:
        return "it does not begin with the number of a context and a colon"
    place, written = int(match[1]) - 1, match[2].strip()
    if not written:
        return None
    if not 0 <= place < len(pile.items):
        return f"the pile has no context {match[1]}"
    if place in reader.marks:
        return f"context {match[1]} has marks already"
    if not re.fullmatch(f"(?:{_MARK.pattern})*", written):
        return "marks are 0, 1 or 2, one of them with a * perhaps"
    marks = tuple(MARKS[mark]._replace(best=bool(star)) for mark, star in _MARK.findall(written))
    wanted = len(pile.items[place].candidates)
    if len(marks) != wanted:
        replies, given = _counted(wanted, "reply", "replies"), _counted(len(marks), "mark", "marks")
        return f"context {match[1]} has {replies}, and this line gives {given}"
    if sum(mark.best for mark in marks) > 1 or any(mark.best and not mark.sensible for mark in marks):
        return "no more than one reply is the best, and it is sensible"
    reader.marks[place] = marks
    return None


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def marked_by_system(pile: Pile, readers: Sequence[Reader]) -> Iterator[Marked]:
    """Every reader's mark of every reply, once for each system that gave the reply, in the order of the pile."""
    for reader in readers:
        for place, marks in reader.marks.items():
            for candidate, mark in zip(pile.items[place].candidates, marks, strict=True):
                yield from (Marked(system, place, mark) for system in candidate.systems)


def agreements(readers: Sequence[Reader]) -> list[Agreement]:
    """How far each two readers agree on the contexts that both have marked, if there are any."""
    found = []
    for first, second in combinations(readers, 2):
        shared = [place for place in first.marks if place in second.marks]
        pairs = [pair for place in shared for pair in zip(first.marks[place], second.marks[place], strict=True)]
        if pairs:
            sensible = agreement([(one.sensible, other.sensible) for one, other in pairs])
            specific = agreement([(one.specific, other.specific) for one, other in pairs])
            found.append(Agreement((first.name, second.name), len(pairs), sensible, specific))
    return found


def agreement(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, float | None]:
    """The share of equal pairs, and Cohen's kappa."""
    count = len(pairs)
    equal = sum(one == other for one, other in pairs) / count
    first, second = (sum(column) / count for column in zip(*pairs, strict=True))
    chance = first * second + (1 - first) * (1 - second)
    return equal, None if chance == 1 else (equal - chance) / (1 - chance)


def judgements(pile: Pile, readers: Sequence[Reader]) -> Iterator[Mapping[str, Any]]:
    """What each reader marked, a context a record, as training/judgements.jsonl.xz holds it."""
    for reader in readers:
        for place, marks in sorted(reader.marks.items()):
            item = pile.items[place]
            said = zip(item.candidates, marks, strict=True)
            candidates = [(one.text, ", ".join(one.systems), mark) for one, mark in said]
            yield judgement(item.id, item.turn, reader.name, item.context, candidates)
