"""Migrations up, down and up again on databases of both kinds that are full."""

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import inspect, text

from chatbot.history import FinishedReply, History, open_history
from chatbot.migrations import downgrade, upgrade

Record = Callable[..., None]
REVISIONS = ("0001", "0002", "0003", "0004", "0005")


def fill(history: History, conversations: int, turns: int) -> dict[str, list[str]]:
    """Conversations with that many messages and their replies -> what was said in each."""
    user, _ = history.add_user()
    said: dict[str, list[str]] = {}
    for number in range(conversations):
        conversation = history.create_conversation(user, f"No. {number}", learn=number % 2 == 0).id
        said[conversation] = []
        for turn in range(turns):
            accepted = history.add_message(user, conversation, str(uuid.uuid4()), f"{number} says {turn} ☃'\"")
            ended = FinishedReply(f"{turn}?", "completed", "first", b"\0before", b"\xffafter")
            history.finish_reply(conversation, accepted.reply_id, ended)
            history.set_feedback(user, conversation, accepted.reply_id, -1, "Better.")
            said[conversation] += [f"{number} says {turn} ☃'\"", f"{turn}?"]
    return said


def kept(database: str) -> dict[str, list[str]]:
    history = open_history(database)
    found = {one.id: [turn.text for turn in history.active_branch(one.id)] for one in history.conversations()}
    history.engine.dispose()
    return found


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_was_said_survives_the_way_back_and_forth(database: str, record: Record, revision: str) -> None:
    """From the newest version to an older one and up again."""
    history = open_history(database)
    said = fill(history, 50, 20)
    downgrade(history.engine, revision)
    with history.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM turns")) == 50 * 20 * 2
    upgrade(history.engine)
    history.engine.dispose()
    assert kept(database) == said
    record(turns=50 * 20 * 2)


def test_down_to_nothing_and_up_again(database: str) -> None:
    history = open_history(database)
    fill(history, 20, 5)
    for _ in range(3):
        downgrade(history.engine, "base")
        assert inspect(history.engine).get_table_names() == ["alembic_version"]
        upgrade(history.engine)
    history.engine.dispose()
    assert kept(database) == {}
