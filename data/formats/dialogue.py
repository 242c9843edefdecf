"""Dialogues, and the messages of a log that they are made of."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from data.corpus import Document

Bad = Callable[[int, str], None]  # hears the number of each line that cannot be read, from 1, and why

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
MAX_LINES_A_DIALOGUE = 10_000  # a plain file without a blank line is cut here, so that it cannot fill the memory
NOT_IN_TALK = {"system", "developer", "tool", "function"}
_ROLES = dict.fromkeys(("user", "customer", "client", "visitor", "human", "guest", "enduser", "caller"), "user")
_ROLES |= dict.fromkeys(("assistant", "bot", "chatbot", "agent", "system", "support", "operator"), "assistant")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What two or more people said in turn; `group` (film, show, dialogue) is never divided between splits.

    `roles` has "user" or "assistant" for each utterance, or is None where nobody said who is which.
    """

    id: str
    source: str
    group: str
    utterances: tuple[str, ...]
    roles: tuple[str, ...] | None = None


class Message(NamedTuple):
    """A line of a log: who said it, what, in which role ("user" or "assistant") and when, in seconds, where known."""

    speaker: str | None
    text: str
    role: str | None = None
    time: float | None = None


def merge_turns(messages: Iterable[tuple[str | None, str]]) -> tuple[str, ...]:
    """Utterances of (speaker, text) messages: what one speaker sends in a row is one; None is nobody twice."""
    return tuple(message.text for message in merged(Message(*message) for message in messages))


def merged(messages: Iterable[Message]) -> list[Message]:
    merged: list[Message] = []
    for message in messages:
        if not (text := message.text.strip()):
            continue
        if merged and message.speaker is not None and message.speaker == merged[-1].speaker:
            before = merged[-1].text
            merged[-1] = merged[-1]._replace(text=f"{before}{'.' if before[-1].isalnum() else ''} {text}")
        else:
            merged.append(message._replace(text=text))
    return merged


def dialogue_of(id: str, source: str, group: str, messages: Iterable[Message]) -> Dialogue:
    """What one speaker sends in a row as one utterance; with roles where every utterance has one."""
    utterances = merged(messages)
    roles = tuple(message.role for message in utterances if message.role)
    known = roles if roles and len(roles) == len(utterances) else None
    return Dialogue(id, source, group, tuple(message.text for message in utterances), known)


def numbered(document: Document, number: int, utterances: Iterable[str]) -> Dialogue:
    id = f"{document.stem}/{number}"
    return Dialogue(id, document.stem, id, tuple(text.strip() for text in utterances if text.strip()))


def role_of(speaker: str | None) -> str | None:
    return _ROLES.get(speaker.strip().lower()) if speaker else None
