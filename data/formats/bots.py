"""Logs of chatbots: Rasa's events and trackers, ChatterBot's exports and corpora."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import yaml

from data.corpus import Document, DocumentError
from data.formats.dialogue import UNREADABLE, Dialogue, Losses, Message, dialogue_of
from data.formats.order import Row, by_conversation
from data.formats.records import MAX_PARSED_BYTES, records


def rasa_events(document: Document, losses: Losses) -> Iterator[Dialogue]:
    """What `rasa export` and the event brokers write: an event a record, the senders mixed."""
    for sender, messages in by_conversation(_rasa_messages(document, losses)):
        yield from rasa_dialogues(sender, messages, document.stem)


def _rasa_messages(document: Document, losses: Losses) -> Iterator[tuple[str, Row]]:
    for number, event in records(document, losses):
        try:
            if message := rasa_message(event):
                yield str(event["sender_id"]), (message,)
        except UNREADABLE:
            losses.bad(number)


def rasa_message(event: dict[str, Any]) -> Message | None:
    """A user's or the bot's words; without text, the end of a session; None for what nobody hears.

    A text with a slash is a payload (of a button) and stands for words that are not there.
    """
    kind, text, time = event["event"], event.get("text") or "", str(event.get("timestamp"))
    if kind == "bot":
        return Message("bot", text, "assistant", time) if text.strip() else None
    if kind == "user":
        return Message("user", "" if text.startswith("/") else text, "user", time)
    return Message(None, "", None, time) if kind in {"restart", "session_started"} else None


def rasa_dialogues(sender: str, messages: Iterable[Message], source: str) -> Iterator[Dialogue]:
    """The sessions of one sender."""
    group = f"{source}/{sender}"
    sessions = (session for is_talk, session in groupby(messages, lambda one: bool(one.text.strip())) if is_talk)
    for number, session in enumerate(sessions):
        yield dialogue_of(f"{group}/{number}", source, group, session)


def chatterbot_yaml(document: Document) -> Iterator[Dialogue]:
    """A corpus of ChatterBot."""
    try:
        yield from chatterbot(_yaml_conversations(document.text(MAX_PARSED_BYTES)), document.stem)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise DocumentError(f"invalid YAML in line {mark.line + 1}" if mark else "invalid YAML") from error


def _yaml_conversations(text: str) -> Iterator[list[str]]:
    """The lists of words under `conversations:`, where `- Yes` is a word too.

    Taken from the parser's events: where YAML is nested deep, what loads it runs out of stack and kills the process.
    """
    depth, key, statements = 0, "", list[str]()
    for event in yaml.parse(text, yaml.CBaseLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > 3:
                raise DocumentError("no ChatterBot corpus")
        elif isinstance(event, yaml.CollectionEndEvent):
            if depth == 3 and key == "conversations":
                yield statements
                statements = []
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent):
            if depth == 1:
                key = event.value
            elif depth == 3 and key == "conversations":
                statements.append(event.value)


def chatterbot(conversations: Iterable[list[str]], source: str) -> Iterator[Dialogue]:
    """Statements and responses in turn. One that goes on where the last ended belongs to that one's group."""
    before, group = "", 0
    for number, statements in enumerate(conversations):
        texts = [text for text in statements if isinstance(text, str)] if isinstance(statements, list) else []
        if len(texts) < 2:
            continue
        group = group if texts[0] == before else number
        before = texts[-1]
        messages = (Message(None, text, ("user", "assistant")[place % 2]) for place, text in enumerate(texts))
        yield dialogue_of(f"{source}/{number}", source, f"{source}/{group}", messages)
