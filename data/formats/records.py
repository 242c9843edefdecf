"""The JSON values of a document, and messages as chat systems write them in JSON."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import regex

from data.corpus import Document, DocumentError
from data.formats.columns import columns_of, entry_of
from data.formats.dialogue import NOT_A_PERSON, NOTICE, Losses, Message, is_in_talk, role_of

MAX_PARSED_BYTES = 1 << 26  # of JSON or YAML that is one whole: parsed, it takes many times that

_WRAPPERS = ("data", "kwargs", "message")  # LangChain's among them
_PEOPLE = ("author", "sender", "from", "user", "creator", "speaker")
_NAMES = ("name", "displayName", "username", "first_name", "id")
_TEXTS = ("content", "text", "parts", "value", "utterance", "message", "body", "msg")
_TEXT_PARTS = {"text", "input_text", "output_text", "multimodal_text", None}
_SPEECH = {"default", "reply", "message", "text", "chat", "chatmessage", "msg", "generic", "share", "usermessage"}
_SPOKEN_SUBTYPES = {None, "thread_broadcast", "me_message", "file_share", "bot_message"}  # Slack's
_MENTION = regex.compile(r" ?<(?:[@#!][!&]?[\w^]+(?:\|[^<>]*)?|a?:\w+:\d+)>")  # or an image that a server made a letter
_NAMED_LINK = regex.compile(r"<(?:https?|mailto):[^<>|\s]*\|([^<>]*)>")
_SENT = regex.compile(r".{1,60} sent (?:an attachment|a photo|a video|a voice message)\.|Reacted \S+ to your message ?")


def records(document: Document, losses: Losses) -> Iterator[tuple[int, Any]]:
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
            losses.bad(number)


def messages_of(entries: Iterable[Any], losses: Losses) -> Iterator[Message]:
    """The messages of a list: records, or plain words of two who take turns.

    Raises one of UNREADABLE where an entry is neither.
    """
    for entry in entries:
        if isinstance(entry, str):
            yield Message(None, entry)
            continue
        plain = plain_entry(entry)
        columns = columns_of(tuple(plain))
        if "text" not in columns and "question" in columns:  # what was asked and answered, as one entry
            for part, role in (("question", "user"), ("answer", "assistant")):
                yield Message(role, _text_of(plain[columns[part]]), role)
        elif message := message_of(plain, losses):
            yield message


def message_of(entry: dict[str, Any], losses: Losses) -> Message | None:
    """The message that a plain entry is; None where it is an instruction or a notice."""
    role = entry.get("role") or entry.get("from")
    if not isinstance(role, str | None):
        raise TypeError("a role that is no word")
    if role and (role.lower() == "system" or not is_in_talk(role)):
        losses.leave_out(NOT_A_PERSON)
    elif not _is_speech(entry):
        losses.leave_out(NOTICE)
    else:
        return entry_of(entry, columns_of(tuple(entry))).message
    return None


def plain_entry(record: dict[str, Any]) -> dict[str, Any]:
    """A message's record with its text as one string and its speaker as a word, as a row of a table has them.

    Raises TypeError where the record is none.
    """
    if not isinstance(record, dict):
        raise TypeError("a message that is no record")
    entry = dict(record)
    for part, value in record.items():
        if isinstance(value, dict) and part in _WRAPPERS:
            entry |= entry.pop(part)
        elif isinstance(value, dict) and part in _PEOPLE:
            entry |= _person(part, value)
    kind = entry.get("type")
    if isinstance(kind, str) and "role" not in entry and (role_of(kind) or not is_in_talk(kind)):
        entry["role"] = kind
    if kind in ("incoming", "outgoing"):
        entry["direction"] = entry.pop("type")
    if written := [part for part in _TEXTS if part in entry]:
        texts = [_text_of(entry.pop(part)) for part in written]
        entry["text"] = _plain_text(next(filter(None, texts), ""), is_meta="timestamp_ms" in entry)
    return entry


def _person(part: str, person: dict[str, Any]) -> dict[str, Any]:
    """Who a message is from: by role, where one is named, and by name."""
    person = person["user"] if isinstance(person.get("user"), dict) else person
    role = next((value for key in ("role", "type") if role_of(value := str(person.get(key)))), person.get("role"))
    name = next((str(person[key]) for key in _NAMES if person.get(key)), None)
    return {part: name} | ({"role": role} if role else {})


def _text_of(content: Any) -> str:
    """A message's text; it is also written as a list of parts of one kind or another, and null for a call of a tool.

    Raises TypeError where it is none of these.
    """
    match content:
        case None:
            return ""
        case str():
            return content
        case dict():
            is_text = content.get("content_type", content.get("type")) in _TEXT_PARTS
            return _text_of(content.get("text", content.get("parts", content.get("content")))) if is_text else ""
        case list():
            if any(isinstance(part, str) for part in content):  # the parts of one sentence, some of them marked
                return "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content)
            return " ".join(filter(None, map(_text_of, content)))
    raise TypeError("a text that is none")


def _plain_text(text: str, is_meta: bool) -> str:
    if is_meta:  # Facebook and Instagram export the bytes of UTF-8 as letters
        with suppress(UnicodeError):
            text = text.encode("latin-1").decode()
    return _MENTION.sub("", _NAMED_LINK.sub(r"\1", text)).strip() if "<" in text else text.strip()


def _is_speech(entry: dict[str, Any]) -> bool:
    """Whether a message is somebody's words, and not a notice that somebody came, went or sent a file."""
    kind = entry.get("type")
    is_spoken = not isinstance(kind, str) or kind.lower() in _SPEECH or role_of(str(entry.get("role"))) is not None
    is_notice = "timestamp_ms" in entry and _SENT.fullmatch(entry.get("text", ""))
    return is_spoken and not is_notice and entry.get("subtype") in _SPOKEN_SUBTYPES


def _has_json_lines(document: Document) -> bool:
    """Whether the file has a JSON value a line, rather than being one list or one object over many lines."""
    first, end, _ = document.head.lstrip().partition("\n")
    if PurePath(document.name).suffix.lower() in {".jsonl", ".ndjson"}:
        return first.strip() not in {"[", "{"}
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
