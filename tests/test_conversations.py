"""The service between the events, the stored history and the engine."""

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from chatbot.history import FinishedReply, History
from tests.echo_engine import EchoEngine
from tests.test_history import prepared_from, touched_before
from web import conversations
from web.conversations import ConversationService

Emitted = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))


@pytest.fixture
def emitted() -> Emitted:
    return []


@pytest.fixture
def serve(history: History, emitted: Emitted) -> Iterator[Callable[[int], ConversationService]]:
    """A started service that keeps conversations for so many days."""
    started: list[ConversationService] = []

    def start(keep_days: int) -> ConversationService:
        started.append(ConversationService(history, EchoEngine(), lambda *sent: emitted.append(sent), keep_days))
        started[-1].start()
        return started[-1]

    yield start
    for service in started:
        service.close()


def touched(history: History, user: str, days_ago: int) -> str:
    conversation = history.create_conversation(user).id
    accepted = history.add_message(user, conversation, str(uuid.uuid4()), "Hello")
    history.finish_reply(conversation, accepted.reply_id, FinishedReply("Hi.", "completed", "echo"))
    touched_before(history, conversation, datetime.now(UTC) - timedelta(days=days_ago))
    return conversation


def kept(history: History) -> set[str]:
    return {conversation.id for conversation in history.conversations()}


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail("It never came to that.")


def test_what_was_not_touched_for_long_is_erased_at_the_start_and_again_and_again(
    history: History, emitted: Emitted, serve: Callable[[int], ConversationService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "ERASE_SECONDS", 0.01)
    user = history.add_user()[0]
    old, new = touched(history, user, days_ago=8), touched(history, user, days_ago=6)
    laid_by = prepared_from(old)
    serve(7)
    wait_until(lambda: not laid_by.exists())
    assert kept(history) == {new}
    assert emitted == [(user, "notice", {"type": "conversation.deleted", "conversation": {"conversation_id": old}})]
    touched_before(history, new, datetime.now(UTC) - timedelta(days=8))
    wait_until(lambda: kept(history) == set())


def test_without_a_term_all_is_kept(history: History, serve: Callable[[int], ConversationService]) -> None:
    old = touched(history, history.add_user()[0], days_ago=30_000)
    serve(0).close()
    assert kept(history) == {old}


def test_a_database_in_trouble_only_puts_off_the_erasing(
    history: History, serve: Callable[[int], ConversationService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "ERASE_SECONDS", 0.01)
    erase, failures = history.delete_untouched, iter(range(2))

    def away(before: datetime) -> Any:
        if next(failures, None) is not None:
            raise OperationalError("DELETE", {}, Exception("the server closed the connection"))
        return erase(before)

    monkeypatch.setattr(history, "delete_untouched", away)
    touched(history, history.add_user()[0], days_ago=2)
    serve(1)
    wait_until(lambda: kept(history) == set())
