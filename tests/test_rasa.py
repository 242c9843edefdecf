"""Rasa's channel, spoken as a web-chat widget speaks it."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chatbot.history import open_history
from chatbot.keys import Keys
from tests.clients import Refused, ServerProcess, WireClient
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


def test_a_payload_of_a_button_is_not_said(server: ServerProcess, database: str) -> None:
    with WireClient(server.url) as widget:
        for payload in ("/get_started", '/greet{"name": "Ann"}', "/chitchat/ask_name"):
            assert widget.call("user_uttered", message=payload) == {"ok": True}
        assert utter(widget, "/ or not to be") == "You said: / or not to be"
    history = open_history(database)
    [conversation] = history.conversations()
    assert next(turn.text for turn in history.active_branch(conversation.id)) == "/ or not to be"
    history.engine.dispose()


def test_messages_sent_quickly_are_all_answered_in_their_order(server: ServerProcess) -> None:
    with WireClient(server.url) as widget:
        for message in ("One", "Two", "Three"):
            assert widget.call("user_uttered", message=message)["ok"]
        widget.wait_for("bot_uttered", lambda data: data["text"] == "You said: Three")
        said = [data["text"] for name, data in widget.received if name == "bot_uttered"]
        assert said == ["You said: One", "You said: Two", "You said: Three"]


@pytest.mark.parametrize("session", [12345, 1.5, True, [], {"a": 1}, "\0", ""])
def test_whatever_is_no_session_id_is_replaced(server: ServerProcess, session: Any) -> None:
    with WireClient(server.url) as widget:
        widget.call("session_request", session_id=session)
        assert widget.wait_for("session_confirm") == widget.token


def test_a_connection_has_one_session_however_often_it_guesses(server: ServerProcess) -> None:
    with WireClient(server.url) as owner, WireClient(server.url) as widget:
        widget.call("session_request", session_id="a guess")
        for _ in range(3):
            widget.call("session_request", session_id=owner.token)
        confirmed = [data for name, data in widget.received if name == "session_confirm"]
        assert confirmed == [widget.token] * 4


def test_a_session_whose_key_was_revoked_is_no_longer_one(
    start_server: Callable[..., ServerProcess], database: str
) -> None:
    history = open_history(database)
    keys = Keys(history)
    revoked, valid = keys.create("theirs", ("chat",)), keys.create("ours", ("chat",))
    server = start_server(database)
    with WireClient(server.url, key=revoked) as widget:
        session = widget.token
    keys.revoke(keys.all()[0].id)
    with suppress(Refused):
        while True:  # until the server has looked
            WireClient(server.url, token=session).close()
    with WireClient(server.url, key=valid) as widget:
        widget.call("session_request", session_id=session)
        assert widget.wait_for("session_confirm") == widget.token
    history.engine.dispose()
