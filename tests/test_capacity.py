"""The simulation of many conversations obeys what is known of queues."""

import math
from pathlib import Path

import pytest

from benchmarks.capacity import Process, Run, database_wait, most, stored_a_second
from chatbot.history import open_history

FAST = Process(alone=0.001, full=0.064, front=0.0001, batch=64, replies=500, connections=500)
SLOW = Process(alone=1.0, full=8.0, front=0.0001, batch=8, replies=500, connections=500)


def test_where_nothing_waits_each_conversation_sends_once_in_its_thinking_time() -> None:
    outcome = Run(FAST, conversations=100, think=10, seed=0).outcome(seconds=2_000)
    assert outcome.rate == pytest.approx(10, rel=0.05)
    assert (outcome.refused, outcome.p95 < 0.01) == (0, True)


def test_a_full_engine_answers_as_many_as_its_batch_and_the_rest_waits() -> None:
    outcome = Run(SLOW, conversations=100, think=1, seed=0).outcome(seconds=2_000)
    assert outcome.rate == pytest.approx(8 / 8.0, rel=0.05)
    assert outcome.p95 > 90  # one conversation of a hundred a second


def test_a_web_side_that_is_full_is_what_waits() -> None:
    front = Process(alone=0.001, full=0.064, front=0.5, batch=64, replies=500, connections=500)
    assert Run(front, conversations=100, think=1, seed=0).outcome(seconds=2_000).rate == pytest.approx(2, rel=0.05)


def test_beyond_the_replies_under_way_messages_are_refused() -> None:
    narrow = Process(alone=1.0, full=8.0, front=0.0001, batch=8, replies=10, connections=500)
    assert Run(narrow, conversations=100, think=1, seed=0).outcome(seconds=500).refused > 0.5


def test_what_comes_next_is_named() -> None:
    held, _, what = most(FAST, think=30, seconds=100, limit=1.5)
    assert (held, what.startswith("connections")) == (500, True)
    held, outcome, what = most(SLOW, think=30, seconds=500, limit=4.0)
    assert 0 < held < 40
    assert outcome.p95 <= 4
    assert what.startswith("the engine")


def test_what_a_database_is_said_to_store_is_in_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    found = stored_a_second(url, seconds=0.5, people=4)
    history = open_history(url)
    turns = sum(len(history.active_branch(one.id)) for one in history.conversations())
    assert found * 0.5 == turns / 2 > 0
    history.engine.dispose()


def test_a_database_waits_the_longer_the_busier_it_is_and_never_catches_up_beyond_that() -> None:
    assert database_wait(0, 100) == 0.01
    assert database_wait(50, 100) == pytest.approx(0.015)  # M/D/1 at half load
    assert math.isinf(database_wait(100, 100))
