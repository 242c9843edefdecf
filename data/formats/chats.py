"""JSON of chat systems: dialogues with a list of messages each, or a message a record."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import regex

from data.corpus import Document
from data.formats.bots import chatterbot, rasa_dialogues, rasa_message
from data.formats.columns import Entry, columns_of, entry_of, holds_messages
from data.formats.dialogue import UNREADABLE, Dialogue, Losses, Message, dialogue_of, in_talk
from data.formats.order import in_order
from data.formats.pairs import exchange_of
from data.formats.records import message_of, messages_of, plain_entry, records
from data.formats.tables import conversations

EPISODE = regex.compile(r"s\d{1,2}\s?[ex]\d{1,3}|\b\d{1,2}x\d{2,3}\b", regex.IGNORECASE)
EXPECTED = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
_LISTS = (
    *("messages", "conversations", "conversation", "chat_messages", "contents", "dialogue", "dialog", "turns"),
    *("utterances", "chat", "transcript", "dialogues", "data"),
)


def chats(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """Chat of any system, prompts and completions, Rasa's trackers and ChatterBot's exports, also mixed."""
    losses.expected = EXPECTED
    entries = records(document, losses)
    if (first := next(entries, None)) is None:
        return
    entries = chain([first], entries)
    if columns := _columns_of_message(first[1]):
        yield from conversations(document, _entries(entries, losses), columns, losses)
        return
    for number, record in entries:
        try:
            yield from _dialogues_of(record, f"{document.name}/{number}", document.stem, losses)
        except UNREADABLE:
            losses.bad(number)


def _columns_of_message(record: Any) -> dict[str, str]:
    """What the keys of a record are for, if it is a message by itself."""
    if not isinstance(record, dict) or _list_of(record):
        return {}
    try:
        columns = dict(columns_of(tuple(plain_entry(record))))
    except UNREADABLE:
        return {}
    return columns if holds_messages(columns) else {}


def _entries(entries: Iterable[tuple[int, Any]], losses: Losses) -> Iterator[Entry]:
    for number, record in entries:
        try:
            entry = plain_entry(record)
            if message_of(entry, losses):
                yield entry_of(entry, columns_of(tuple(entry)))
        except UNREADABLE:
            losses.bad(number)


def _dialogues_of(record: Any, id: str, source: str, losses: Losses) -> Iterator[Dialogue]:
    """The dialogues of a record: mostly one.

    Raises one of UNREADABLE where it is of no known shape or nobody says anything in it.
    """
    if isinstance(record, list):
        record = {"messages": record}
    if "events" in record:
        rows = [(message,) for message in map(rasa_message, record["events"]) if message]
        yield from rasa_dialogues(str(record["sender_id"]), in_order(rows), source)
    elif "chats" in record:  # all that Telegram has of somebody
        for place, chat in enumerate(record["chats"]["list"]):
            yield from _dialogues_of(chat | {"id": f"{id}/{place}"}, id, source, losses)
    elif "mapping" in record:
        yield _chat(record, _path(record), id, source, losses)
    elif listed := _list_of(record):
        if all(isinstance(one, dict) and _list_of(one) for one in listed):
            for place, one in enumerate(listed):
                yield from _dialogues_of({"id": f"{id}/{place}"} | one, id, source, losses)
        elif "conversations" in record and all(isinstance(one, list) for one in listed):
            yield from chatterbot(listed, source)
        else:
            yield _chat(record, listed, id, source, losses)
    elif any(record.get(key) == [] for key in _LISTS):
        losses.leave_out("conversation without messages")
    elif (exchange := exchange_of(record, losses)) is None:
        raise ValueError("a record of an unknown shape")
    elif exchange:
        yield _named(record, exchange, id, source)


def _list_of(record: dict[str, Any]) -> list[Any]:
    """The list of a record's messages."""
    return next((record[key] for key in _LISTS if isinstance(record.get(key), list) and record[key]), [])


def _path(record: dict[str, Any]) -> list[Any]:
    """The messages of one of ChatGPT's conversations, which is a tree: those on the way to the current one."""
    nodes = record["mapping"]
    place = record.get("current_node") or next(reversed(nodes))
    way: list[Any] = []
    while place and len(way) <= len(nodes):
        node = nodes[place]
        if (message := node.get("message")) and message.get("recipient", "all") == "all":
            way.append(message)
        place = node.get("parent")
    return way[::-1]


def _chat(record: dict[str, Any], listed: list[Any], id: str, source: str, losses: Losses) -> Dialogue:
    rows = [(message,) for message in messages_of(listed, losses)]
    return _named(record, in_talk(in_order(rows), losses), id, source)


def _named(record: dict[str, Any], messages: list[Message], id: str, source: str) -> Dialogue:
    if not any(message.text.strip() for message in messages):
        raise ValueError("nobody says anything")
    id = str(record.get("id") or id)
    source = str(record.get("source") or source)
    episode = EPISODE.search(id)
    group = str(record.get("group") or (id[: episode.end()] if episode else id))
    return dialogue_of(id, source, f"{source}/{group}", messages)
