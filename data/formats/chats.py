"""JSON of chat systems."""

from collections.abc import Iterator
from typing import Any

import regex

from data.corpus import Document
from data.formats.bots import chatterbot, rasa_dialogues, rasa_message
from data.formats.dialogue import NOT_IN_TALK, UNREADABLE, Bad, Dialogue, Message, dialogue_of, role_of
from data.formats.order import in_time
from data.formats.records import records

EPISODE = regex.compile(r"s\d{1,2}\s?[ex]\d{1,3}|\b\d{1,2}x\d{2,3}\b", regex.IGNORECASE)


def chats(document: Document, bad: Bad) -> Iterator[Dialogue]:
    """Chat, Rasa's trackers and ChatterBot's exports."""
    for number, record in records(document, bad):
        try:
            yield from dialogues_of(record, f"{document.name}/{number}", document.stem)
        except UNREADABLE:
            bad(number, "unreadable line")


def dialogues_of(record: dict[str, Any], id: str, source: str) -> Iterator[Dialogue]:
    if "events" in record:
        messages = filter(None, map(rasa_message, record["events"]))
        yield from rasa_dialogues(str(record["sender_id"]), in_time(list(messages)), source)
    elif "messages" not in record and "conversations" in record:
        yield from chatterbot(record["conversations"], source)
    else:
        yield _chat_dialogue(record, id, source)


def _chat_dialogue(record: dict[str, Any], id: str, source: str) -> Dialogue:
    id = str(record.get("id") or id)
    source = str(record.get("source") or source)
    messages = [
        Message(message.get("name") or message.get("role"), _content(message["content"]), role_of(message.get("role")))
        for message in record["messages"]
        if message.get("role") not in NOT_IN_TALK
    ]
    episode = EPISODE.search(id)
    group = str(record.get("group") or (id[: episode.end()] if episode else id))
    return dialogue_of(id, source, f"{source}/{group}", messages)


def _content(content: str | list[dict[str, str]] | None) -> str:
    """A message's text; chat logs also write it as a list of parts, or null for a call of a tool."""
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""
