"""The order in which messages were said."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite

from data.corpus import DocumentError
from data.formats.dialogue import MAX_LINES_A_DIALOGUE, Message

MAX_HELD_BYTES = 1 << 27  # of conversations whose messages are scattered over a log, about
_MESSAGE_BYTES = 300  # that a message takes besides its text


def by_conversation(rows: Iterable[tuple[str, Message]]) -> Iterator[tuple[str, list[Message]]]:
    """The messages of each conversation, wherever in a log they stand, in the order of their times if all have one.

    What is held is bounded: of too much, the conversation that has been silent for longest is taken as ended. What a
    log held before it broke off is not lost.
    """
    held: dict[str, list[Message]] = {}
    size, broken = 0, None
    try:
        for conversation, message in rows:
            held[conversation] = messages = held.pop(conversation, [])  # who spoke last stands last
            messages.append(message)
            size += _MESSAGE_BYTES + len(message.text)
            is_full = len(messages) >= MAX_LINES_A_DIALOGUE
            if is_full or size > MAX_HELD_BYTES:
                ended = conversation if is_full else next(iter(held))
                size -= sum(_MESSAGE_BYTES + len(message.text) for message in held[ended])
                yield ended, in_time(held.pop(ended))
    except DocumentError as error:
        broken = error
    for conversation, messages in held.items():
        yield conversation, in_time(messages)
    if broken:
        raise broken


def in_time(messages: list[Message]) -> list[Message]:
    times = [message.time for message in messages if message.time is not None]
    if len(times) < len(messages):
        return messages
    return [message for _, message in sorted(zip(times, messages, strict=True), key=lambda timed: timed[0])]


def seconds(time: str) -> float | None:
    """A time in seconds or in ISO 8601; None if it is neither, so that nothing is sorted by a guess."""
    with suppress(ValueError):
        return float(time) if isfinite(float(time)) else None
    with suppress(ValueError):
        moment = datetime.fromisoformat(time)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
