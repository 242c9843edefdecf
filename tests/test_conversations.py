"""The service between the events, the stored history and the engine."""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from chatbot.history import FinishedReply, History, Turn
from tests.echo_engine import EchoEngine
from tests.test_history import prepared_from, touched_before
from web import conversations
from web.config import Settings
from web.conversations import ConversationService
from web.rates import OverloadedError

Emitted = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))


@pytest.fixture
def emitted() -> Emitted:
    return []


Serve = Callable[..., ConversationService]


@pytest.fixture
def serve(history: History, emitted: Emitted) -> Iterator[Serve]:
    """A started service with these settings."""
    started: list[ConversationService] = []

    def start(delay: float = 0, **chosen: Any) -> ConversationService:
        settings = Settings(**chosen)
        started.append(ConversationService(history, EchoEngine(delay), lambda *sent: emitted.append(sent), settings))
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
    history: History, emitted: Emitted, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "ERASE_SECONDS", 0.01)
    user = history.add_user()[0]
    old, new = touched(history, user, days_ago=8), touched(history, user, days_ago=6)
    laid_by = prepared_from(old)
    serve(keep_days=7)
    wait_until(lambda: not laid_by.exists())
    assert kept(history) == {new}
    assert emitted == [(user, "notice", {"type": "conversation.deleted", "conversation": {"conversation_id": old}})]
    touched_before(history, new, datetime.now(UTC) - timedelta(days=8))
    wait_until(lambda: kept(history) == set())


def test_what_is_being_erased_at_the_end_is_forgotten_as_well(
    history: History, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, forgotten = threading.Event(), []

    def forget(ids: Iterable[str]) -> None:
        began.set()
        time.sleep(0.2)
        forgotten.extend(ids)

    monkeypatch.setattr(conversations, "forget", forget)
    old = touched(history, history.add_user()[0], days_ago=2)
    service = serve(keep_days=1)
    assert began.wait(20)
    service.close()
    assert forgotten == [old]


def test_without_a_term_all_is_kept(history: History, serve: Serve) -> None:
    old = touched(history, history.add_user()[0], days_ago=30_000)
    serve().close()
    assert kept(history) == {old}


def test_a_database_in_trouble_only_puts_off_the_erasing(
    history: History, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "ERASE_SECONDS", 0.01)
    erase, failures = history.delete_untouched, iter(range(2))

    def away(before: datetime) -> Any:
        if next(failures, None) is not None:
            raise OperationalError("DELETE", {}, Exception("the server closed the connection"))
        return erase(before)

    monkeypatch.setattr(history, "delete_untouched", away)
    touched(history, history.add_user()[0], days_ago=2)
    serve(keep_days=1)
    wait_until(lambda: kept(history) == set())


# Many at once


def ask(service: ConversationService, user: str, text: str) -> tuple[str, str, str]:
    """Ask in a new conversation -> (user, conversation, reply), as `stop` takes them."""
    conversation = service.create(user, None)
    return user, conversation, service.send(user, conversation, str(uuid.uuid4()), text, None).reply_id


def test_another_reply_is_asked_for_beside_those_there_are(serve: Serve, history: History) -> None:
    service = serve()
    reply = ask(service, history.add_user()[0], "hello")
    wait_until(lambda: history.reply_status(*reply) == "completed")
    service.regenerate(*reply)
    wait_until(lambda: len(asked(service)) == 2)
    assert [request.beside for request in service.engine.requests] == [(), ("You said: hello",)]


def asked(service: ConversationService) -> list[str]:
    """What the engine was asked, in order."""
    return [request.utterance for request in service.engine.requests]


def test_beyond_its_capacity_a_worker_refuses_before_anything_is_kept(history: History, serve: Serve) -> None:
    service = serve(delay=60, replies=2)
    for user in (history.add_user()[0] for _ in range(2)):
        ask(service, user, "Hello")
    conversation = service.create(user, None)
    with pytest.raises(OverloadedError):
        service.send(user, conversation, str(uuid.uuid4()), "One too many", None)
    assert history.active_branch(conversation) == []
    service.delete(user, history.conversations(user)[-1].id)
    assert service.send(user, conversation, str(uuid.uuid4()), "There is room again", None).seq == 1


def test_messages_that_come_all_at_once_are_not_let_in_beyond_the_capacity(history: History, serve: Serve) -> None:
    service = serve(delay=60, replies=5)

    def attempt(_: int) -> bool:
        with suppress(OverloadedError):
            return bool(ask(service, history.add_user()[0], "Hello"))
        return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(attempt, range(24))) == service.under_way == 5


def test_who_talks_in_many_conversations_does_not_hold_up_who_talks_in_one(history: History, serve: Serve) -> None:
    service = serve(delay=60, replies_per_user=2)
    many, one = (history.add_user()[0] for _ in range(2))
    replies = [ask(service, many, f"Many {number}") for number in range(5)]
    ask(service, one, "One")
    assert asked(service) == ["Many 0", "Many 1", "One"]
    for number, reply in enumerate(replies[:3]):
        service.stop(*reply)
        wait_until(lambda number=number: f"Many {number + 2}" in asked(service))
    assert asked(service) == ["Many 0", "Many 1", "One", "Many 2", "Many 3", "Many 4"]


def test_a_reply_in_line_is_stopped_or_erased_without_holding_up_the_next(history: History, serve: Serve) -> None:
    service = serve(delay=60, replies_per_user=1)
    user = history.add_user()[0]
    replies = [ask(service, user, f"Reply {number}") for number in range(4)]
    service.stop(*replies[1])
    service.delete(user, replies[2][1])
    service.stop(*replies[0])
    wait_until(lambda: asked(service) == ["Reply 0", "Reply 1", "Reply 3"])
    wait_until(lambda: history.reply_status(*replies[1]) == "stopped")
    assert history.reply_status(*replies[3]) == "started"


def test_a_worker_drops_a_reply_that_another_has_taken_over(
    history: History, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "RENEW_SECONDS", 0.05)
    service = serve(delay=60)
    user, conversation, reply = ask(service, history.add_user()[0], "Hello")
    with history.engine.begin() as connection:
        connection.execute(update(Turn).where(Turn.id == reply).values(worker="another"))
    wait_until(lambda: service.under_way == 0)
    service.engine.wait()
    assert history.reply_status(user, conversation, reply) == "started"


def test_leases_are_kept_through_a_database_in_trouble(
    history: History, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "RENEW_SECONDS", 0.01)
    renew, calls = history.renew, itertools.count()

    def away(reply_ids: Any) -> set[str]:
        if next(calls) < 3:
            raise OperationalError("UPDATE", {}, Exception("the server closed the connection"))
        return renew(reply_ids)

    monkeypatch.setattr(history, "renew", away)
    service = serve(delay=60)
    ask(service, history.add_user()[0], "Hello")
    wait_until(lambda: next(calls) > 10)
    assert service.under_way == 1
