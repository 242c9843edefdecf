"""Rasa's channel, spoken as a web-chat widget speaks it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatbot.history import open_history
from tests.clients import ServerProcess, WireClient
from web.protocol import TO_RASA


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/chat.db"


@pytest.fixture
def server(database: str, start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server(database, delay=0.01, CHATBOT_MESSAGE_CHARACTERS="50")


def utter(widget: WireClient, message: Any, said: int = 0) -> str:
    """-> the bot's answer, which is number `said` of this connection."""
    widget.call("user_uttered", message=message, session_id="whatever", customData={"language": "en"})
    while len(answers := [data for name, data in widget.received if name == "bot_uttered"]) <= said:
        widget.wait_for("bot_uttered", lambda data: data not in answers)
    return str(answers[said]["text"])


def test_a_widget_holds_a_conversation_and_comes_back_to_it(server: ServerProcess, database: str) -> None:
    with WireClient(server.url) as widget:
        widget.call("session_request", session_id=None)
        session = widget.wait_for("session_confirm")
        assert utter(widget, "Hello") == "You said: Hello"
        assert utter(widget, "Hello again", said=1) == "You said: Hello again"
        for name, payload in widget.received:
            if name in TO_RASA:
                TO_RASA[name].model_validate(payload)
    with WireClient(server.url) as widget:
        widget.call("session_request", session_id=session)
        assert widget.wait_for("session_confirm") == session
        assert utter(widget, "I am back") == "You said: I am back"
    history = open_history(database)
    [conversation] = history.conversations()
    assert [turn.text for turn in history.active_branch(conversation.id)][::2] == ["Hello", "Hello again", "I am back"]
    history.engine.dispose()


def test_a_session_id_that_is_not_known_is_replaced(server: ServerProcess) -> None:
    with WireClient(server.url) as widget:
        widget.call("session_request", session_id="made-by-the-widget")
        assert widget.wait_for("session_confirm") == widget.token


def test_a_widget_is_told_in_a_sentence_why_there_is_no_reply(server: ServerProcess) -> None:
    with WireClient(server.url) as widget:
        assert "50 characters" in utter(widget, "a" * 51)
        assert widget.call("user_uttered", message=7)["error"]["code"] == "invalid"
