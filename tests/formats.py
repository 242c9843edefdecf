"""How the tests read a text as a document of a name."""

import io
import json
from collections import Counter

from data.corpus import Document
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader


def read(name: str, text: str | bytes, reader: DialogueReader | None = None) -> list[Dialogue]:
    content = text if isinstance(text, bytes) else text.encode()
    found: list[Dialogue] = []
    for one in (reader or DialogueReader()).read(Document(name, io.BytesIO(content))):
        found.extend([one] if isinstance(one, Dialogue) else one.dialogues(Counter()))
    return found


def utterances(name: str, text: str | bytes) -> list[tuple[str, ...]]:
    return [dialogue.utterances for dialogue in read(name, text)]


def said(name: str, text: str | bytes) -> list[list[tuple[str, str]]]:
    """The utterances of each dialogue with their roles."""
    return [list(zip(one.roles or (), one.utterances, strict=True)) for one in read(name, text)]


def lines(*records: object) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


def chat(*messages: dict[str, object], **more: str) -> str:
    return lines({**more, "messages": messages})
