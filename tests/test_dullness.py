"""How dull the live traffic is."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from chatbot.dullness import Dullness, live_dullness
from data.vocabulary import SPECIALS, Vocabulary

NOW = datetime(2031, 12, 24, tzinfo=UTC)
VOCABULARY = Vocabulary([*SPECIALS, "hello", "there", "."])


@dataclass
class Turn:
    speaker: str
    text: str
    checkpoint: str | None = "new"
    conversation_id: str = "one"
    is_retrieved: bool = False
    guarded: str | None = None
    created_at: datetime = NOW


def figures(*turns: Turn, since: datetime = NOW) -> dict[str, Dullness]:
    return live_dullness(turns, {"window": since}, {"new": VOCABULARY}.get)["window"]


def test_a_reply_repeats_an_earlier_one_of_its_own_conversation_only() -> None:
    said = [Turn("bot", "Hello there!"), Turn("bot", "hello there"), Turn("bot", "Hello there!", conversation_id="two")]
    assert figures(*said)["new"].repeated == pytest.approx(1 / 3)
    assert (
        figures(Turn("user", "Hello!"), Turn("bot", "Hello!"), Turn("bot", "..."), Turn("bot", "!"))["new"].repeated
        == 0
    )


def test_what_was_said_before_the_window_still_counts_as_said() -> None:
    before = Turn("bot", "Hello there!", created_at=NOW - timedelta(days=2))
    assert figures(before, Turn("bot", "Hello there!"))["new"] == Dullness(1, 1.0, 0.0, 0.0, 2.0, None)


def test_dull_borrowed_and_unknown_words_are_shares_and_length_is_a_mean() -> None:
    said = [Turn("user", "Hello, zyx."), Turn("bot", "I do not know."), Turn("bot", "Ah", is_retrieved=True)]
    said.append(Turn("bot", "I do not know whether this helps.", guarded="suicide"))
    assert figures(*said)["new"] == Dullness(2, 0.0, 0.5, 0.5, 2.0, 0.5)


def test_checkpoints_are_told_apart_and_what_never_was_said_does_not_count() -> None:
    said = [Turn("bot", "Yes", "old"), Turn("bot", "", "old"), Turn("user", "zyx", None), Turn("user", "zyx", "old")]
    assert figures(*said) == {"old": Dullness(1, 0.0, 0.0, 0.0, 1.0, None)}
