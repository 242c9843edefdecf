"""The JSON values of a document: its lines, the entries of its list, or the file as one whole."""

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from data.corpus import Document, DocumentError
from data.formats.dialogue import Bad

MAX_PARSED_BYTES = 1 << 26  # of JSON or YAML that is one whole: parsed, it takes many times that


def records(document: Document, bad: Bad) -> Iterator[tuple[int, Any]]:
    """JSON values and their numbers: the lines of a file, the entries of its list, or the file as one whole."""
    if not _has_json_lines(document):
        whole = _parsed_whole(document)
        yield from enumerate(whole if isinstance(whole, list) else [whole], 1)
        return
    for number, line in enumerate(document.lines(), 1):
        try:
            if line.strip():
                yield number, json.loads(line)
        except (ValueError, RecursionError):
            bad(number, "unreadable line")


def _has_json_lines(document: Document) -> bool:
    """Whether the file has a JSON object a line, rather than being one list or one object over many lines."""
    if PurePath(document.name).suffix.lower() in {".jsonl", ".ndjson"}:
        return True
    first, end, _ = document.head.lstrip().partition("\n")
    starts = [line for line in document.head.split("\n")[:20] if line.startswith("{")]
    return first.startswith("{") and (not end or any(map(_is_json, starts)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed_whole(document: Document) -> Any:
    """Raises DocumentError where the file is not JSON."""
    try:
        return json.loads(document.text(MAX_PARSED_BYTES))
    except json.JSONDecodeError as error:
        raise DocumentError(f"invalid JSON in line {error.lineno}") from error
    except RecursionError as error:
        raise DocumentError("JSON within JSON without an end") from error
