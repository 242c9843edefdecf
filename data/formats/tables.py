"""Tables: with named columns, or a question and its answer between tabs."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import regex

from data.corpus import Document, DocumentError
from data.formats.columns import Entry, columns_of, entry_of, holds_messages, is_wrong, split_humps
from data.formats.dialogue import WRONG, Dialogue, Losses, Message, dialogue_of, in_talk, role_of
from data.formats.order import Row, by_conversation, threads

_NOT_TEXT = regex.compile(r"[^\p{L}]*|[^\s\p{L}]*\p{L}{0,4}[-_]?\d[\w-]*|https?:\S+|true|false", regex.IGNORECASE)
_MENTIONS = regex.compile(r"^(?:\.?@\w+[\s,:]+)+")  # whom a tweet answers
_BOOKKEEPING = regex.compile(
    r"(?:#\w+ )?(?:\w*_)?(?:[qpu]?id|[ug]uid)\d*|\w*(?:index|idx|label|score|url|timestamp)|is_\w+"
)
_EXCEL_SIGN = regex.compile(r"\s*(?:sep=.\s*)?")  # which delimiter Excel is to take, above the headings
_LOOKED_AT = 100  # rows
_EXCHANGE = ("user", "assistant")

Named = tuple[str, tuple[str, ...]]  # a delimiter, and the headings between


def headings_of(head: str) -> Named | None:
    """The delimiter and the headings of a table whose columns are understood; None if they are not."""
    first = _EXCEL_SIGN.sub("", head, count=1).split("\n", 1)[0]
    for delimiter in "\t,;|":
        names = tuple(next(csv.reader([first], delimiter=delimiter), []))
        columns = columns_of(names)
        if holds_messages(columns) or (
            "question" in columns and (_says_pairs(columns) or _is_talk(head, delimiter, names, columns["answer"]))
        ):
            return delimiter, names
    return None


def _says_pairs(columns: Mapping[str, str]) -> bool:
    """Whether the headings say that questions and answers stand below, and not who is which."""
    return not all(role_of(columns[part]) for part in ("question", "answer"))


def _is_talk(head: str, delimiter: str, names: tuple[str, ...], answer: str) -> bool:
    """Whether in the column of an answer stand words, and not somebody's name."""
    rows = list(csv.DictReader(head.split("\n")[1:_LOOKED_AT], names, delimiter=delimiter))
    return sum(" " in (row[answer] or "").strip() for row in rows) * 2 > len(rows)


def table(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """A table with named columns: a row a message, the conversations mixed or not; or a question and its answer."""
    delimiter, names = headings_of(document.head) or (",", ())
    columns = columns_of(names)
    places = [names.index(column) for column in columns.values()]
    losses.expected = f"a row of {max(places) + 1} cells or more"
    rows = _rows(document, losses, delimiter, names, max(places) + 1)
    if "question" in columns and not holds_messages(columns):
        yield from _exchanges(document, rows, columns, losses)
    else:
        yield from conversations(document, (entry_of(row, columns) for _, row in rows), columns, losses)


def conversations(
    document: Document, entries: Iterable[Entry], columns: Mapping[str, str], losses: Losses
) -> Iterator[Dialogue]:
    """The dialogues of a log that has a message in a row: by conversation or, without one, by what answers what."""
    if {"id", "reply"} <= columns.keys() and "conversation" not in columns:
        said = threads((one.id, one.answers, _reply(one.message, "speaker" in columns)) for one in entries)
        yield from _dialogues(document, ((str(number), messages) for number, messages in enumerate(said)), losses)
    else:
        yield from _dialogues(document, by_conversation((one.conversation, (one.message,)) for one in entries), losses)


def _dialogues(
    document: Document, conversations: Iterable[tuple[str, list[Message]]], losses: Losses
) -> Iterator[Dialogue]:
    for id, messages in conversations:
        name = f"{document.stem}/{id}"
        yield dialogue_of(name, document.stem, name, in_talk(messages, losses))


def _reply(message: Message, is_named: bool) -> Message:
    """A message without the names of those it answers; a role alone does not say which person speaks."""
    return message._replace(text=_MENTIONS.sub("", message.text), speaker=message.speaker if is_named else None)


def _exchanges(
    document: Document, rows: Iterable[tuple[int, Mapping[str, str]]], columns: Mapping[str, str], losses: Losses
) -> Iterator[Dialogue]:
    """Rows with a question and its answer, alone or as parts of conversations."""
    right = _right(rows, columns, losses)
    if "conversation" not in columns:
        yield from _pairs(
            document, ((number, row[columns["question"]], row[columns["answer"]]) for number, row in right), _EXCHANGE
        )
        return
    said = ((entry_of(row, columns).conversation, _exchange(row, columns)) for _, row in right)
    yield from _dialogues(document, by_conversation(said), losses)


def _right(
    rows: Iterable[tuple[int, Mapping[str, str]]], columns: Mapping[str, str], losses: Losses
) -> Iterator[tuple[int, Mapping[str, str]]]:
    for number, row in rows:
        if is_wrong(row, columns):
            losses.leave_out(WRONG)
        else:
            yield number, row


def _exchange(row: Mapping[str, str], columns: Mapping[str, str]) -> Row:
    time = row[columns["time"]] if "time" in columns else ""
    question, answer = row[columns["question"]], row[columns["answer"]]
    return Message("user", question, "user", time), Message("assistant", answer, "assistant", time)


def _pairs(
    document: Document, rows: Iterable[tuple[int, str, str]], roles: tuple[str | None, str | None] = (None, None)
) -> Iterator[Dialogue]:
    """Questions and answers; a question that repeats the answer before it goes on with that dialogue's group."""
    before, group = "", 0
    for number, question, answer in rows:
        question, answer = question.strip(), answer.strip()
        group = group if question and question == before else number
        before = answer
        said = (Message(None, text, role) for text, role in zip((question, answer), roles, strict=True))
        yield dialogue_of(f"{document.stem}/{number}", document.stem, f"{document.stem}/{group}", said)


def _rows(
    document: Document, losses: Losses, delimiter: str, names: tuple[str, ...], width: int
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows below the headings that are wide enough, with the number of the line each ends on."""
    rows = csv.reader((f"{line}\n" for line in document.lines()), delimiter=delimiter)
    while _EXCEL_SIGN.fullmatch(delimiter.join(next(rows))):
        pass
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:  # a quotation mark that is never closed, mostly
            row = [""]
        if len(row) >= width:
            yield rows.line_num, dict(zip(names, row, strict=False))
        elif row:
            losses.bad(rows.line_num)


def tab_separated(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """A question, a tab and its answer, maybe with numbers or dates before, between and after.

    Raises DocumentError where the columns have names that are not understood, or are not two of text.
    """
    head = [_cells(line) for line in document.head.split("\n")[:_LOOKED_AT] if line.strip()]
    width = Counter(map(len, head)).most_common(1)[0][0]
    first, *others = [row for row in head if len(row) == width]
    places = [place for place in range(width) if not all(_NOT_TEXT.fullmatch(row[place]) for row in others or [first])]
    named = [place for place in range(width) if place not in places and not _NOT_TEXT.fullmatch(first[place])]
    if any(_BOOKKEEPING.fullmatch(split_humps(cell).lower()) for cell in head[0]) or (named and others[1:]):
        raise DocumentError(f"a table of unknown columns ({', '.join(head[0])}); call two of them question and answer")
    if len(places) < 2:
        raise DocumentError("a table without a column of questions and one of answers")
    losses.expected = "a question, a tab and its answer"
    cells = _tabbed(document, losses, places[1] + 1)
    yield from _pairs(document, ((number, row[places[0]], row[places[1]]) for number, row in cells))


def _tabbed(document: Document, losses: Losses, width: int) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(document.lines()):
        cells = _cells(line)
        if len(cells) >= width:
            yield number, cells
        elif line.strip():
            losses.bad(number + 1)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("\t")]
