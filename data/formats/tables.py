"""Tables: with named columns, or a question and its answer between tabs."""

import csv
from collections.abc import Iterable, Iterator

from data.corpus import Document
from data.formats.dialogue import NOT_IN_TALK, Bad, Dialogue, Message, dialogue_of, numbered, role_of
from data.formats.order import by_conversation, seconds

_HEADINGS = {"question", "answer", "input", "output", "prompt", "response", "context", "reply", "q", "a"}
_QUESTIONS = ("question", "input", "prompt", "context", "query", "q")
_ANSWERS = ("answer", "output", "response", "reply", "a")
# What the columns of a log are called; of several that are there, the first named here counts.
_COLUMNS = {
    "conversation": (
        *("conversation_id", "dialogue_id", "dialog_id", "session_id", "chat_id", "thread_id", "ticket_id"),
        *("conversation", "dialogue", "dialog", "session", "thread"),
    ),
    "speaker": (
        *("role", "speaker", "sender", "author", "from", "sender_type", "participant"),
        *("speaker_id", "sender_id", "author_id", "user", "username", "name"),
    ),
    "text": ("text", "message", "content", "utterance", "body", "message_text"),
    "time": ("timestamp", "time", "datetime", "date_time", "created_at", "sent_at", "date"),
}


def table(document: Document, bad: Bad) -> Iterator[Dialogue]:
    """A table with named columns: a row a message, the conversations mixed or not; or a question and its answer."""
    delimiter, columns = columns_of(document.head) or (",", {})
    rows = _rows(document, bad, delimiter, max(columns.values()) + 1)
    if "answer" in columns:
        for number, row in rows:
            pair = (row[columns["question"]], row[columns["answer"]])
            yield numbered(document, number, pair)
        return
    for id, messages in by_conversation(_table_messages(rows, columns)):
        name = f"{document.stem}/{id}"
        yield dialogue_of(name, document.stem, name, _in_talk(messages))


def _rows(document: Document, bad: Bad, delimiter: str, width: int) -> Iterator[tuple[int, list[str]]]:
    """The rows below the headings that are wide enough, with the number of the line each ends on."""
    table = csv.reader((f"{line}\n" for line in document.lines()), delimiter=delimiter)
    next(table)
    while True:
        try:
            row = next(table)
        except StopIteration:
            return
        except csv.Error:  # a quotation mark that is never closed, mostly
            row = [""]
        if len(row) >= width:
            yield table.line_num, row
        elif row:
            bad(table.line_num, "unreadable line")


def columns_of(head: str) -> tuple[str, dict[str, int]] | None:
    """The delimiter of a table and the places of the columns that count, by its headings; None if those are unknown."""
    headings = head.split("\n", 1)[0]
    for delimiter in ",;\t|":
        names = [_heading(name) for name in next(csv.reader([headings], delimiter=delimiter), [])]
        columns = {column: _place(names, usual) for column, usual in _COLUMNS.items()}
        found = {column: place for column, place in columns.items() if place is not None}
        question, answer = _place(names, _QUESTIONS), _place(names, _ANSWERS)
        if question is not None and answer is not None and delimiter != "\t" and "conversation" not in found:
            return delimiter, {"question": question, "answer": answer}
        if "text" in found and found.keys() & {"conversation", "speaker"}:
            return delimiter, found
    return None


def _heading(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _place(names: list[str], usual: Iterable[str]) -> int | None:
    return next((names.index(name) for name in usual if name in names), None)


def _table_messages(rows: Iterable[tuple[int, list[str]]], columns: dict[str, int]) -> Iterator[tuple[str, Message]]:
    for _, row in rows:
        cells = {column: row[place].strip() for column, place in columns.items()}
        speaker = cells.get("speaker") or None
        time = seconds(cells.get("time", ""))
        yield cells.get("conversation", "0"), Message(speaker, cells["text"], role_of(speaker), time)


def _in_talk(messages: list[Message]) -> list[Message]:
    """Where an assistant speaks, `system` is who instructs it; elsewhere it may be the bot."""
    speakers = [(message.speaker or "").lower() for message in messages]
    if "assistant" not in speakers:
        return messages
    return [one for one, speaker in zip(messages, speakers, strict=True) if speaker not in NOT_IN_TALK]


def tab_separated(document: Document) -> Iterator[Dialogue]:
    """Question, tab, answer. A question that repeats the answer before it goes on with that dialogue's group."""
    before, group = "", 0
    for number, line in enumerate(document.lines()):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < 2 or (number == 0 and {cell.lower() for cell in cells[:2]} <= _HEADINGS):
            continue
        group = group if cells[0] == before else number
        before = cells[1]
        yield Dialogue(f"{document.stem}/{number}", document.stem, f"{document.stem}/{group}", tuple(cells[:2]))
