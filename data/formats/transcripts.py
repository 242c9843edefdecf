"""Plain text with one utterance a line."""

from collections.abc import Iterator
from itertools import chain

import regex

from data.corpus import Document
from data.formats.dialogue import MAX_LINES_A_DIALOGUE, Dialogue, merge_turns, numbered

_NAME = regex.compile(r"^\s*([\p{L}\d][\p{L}\d_.' -]{0,24}):\s+")


def plain_text(document: Document) -> Iterator[Dialogue]:
    """One utterance a line, a blank line between dialogues; names before a colon, if any, tell the speakers."""
    messages: list[tuple[str | None, str]] = []
    number = 0
    for line in chain(document.lines(), [""]):
        if line.strip() and len(messages) < MAX_LINES_A_DIALOGUE:
            name = _NAME.match(line)
            messages.append((name[1], line[name.end() :]) if name else (None, line))
        elif messages:
            if len(messages) > 1:
                yield numbered(document, number, merge_turns(messages))
            messages, number = [], number + 1
