"""The logs: JSON, without what people wrote, and with the id of the request from its arrival to its reply's end."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import structlog
from flask import Flask
from sqlalchemy import text

from chatbot.history import open_history
from tests.clients import ServerProcess, WireClient
from tests.echo_engine import EchoEngine
from web.app import create_app, drain
from web.config import Settings

StartServer = Callable[..., ServerProcess]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chat.db"), EchoEngine())
    yield app
    drain(app, 1)


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.errors().splitlines()]


def test_the_callers_request_id_comes_back_and_anything_else_is_replaced(app: Flask) -> None:
    browser = app.test_client()

    def answered(given: str | None) -> str:
        headers = {"X-Request-Id": given} if given else {}
        return browser.get("/nowhere", headers=headers).headers["X-Request-Id"]

    assert answered("order-66.a_b:c") == "order-66.a_b:c"
    for wrong in (None, "", "a" * 65, 'a","level":"error', "two words", "ä"):
        made = answered(wrong)
        assert made != wrong
        assert len(made) == 32
    assert answered(None) != answered(None)


def test_an_id_leads_from_an_event_to_its_replys_end_and_no_line_holds_what_was_said(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db")
    with WireClient(server.url, headers=["X-Request-Id: from-the-proxy"]) as client:
        conversation = client.create()
        replies = [client.send(conversation, "A secret phrase")["reply_id"]]
        client.completed(replies[0])
        replies.append(client.send(conversation, "Another secret phrase")["reply_id"])
        client.completed(replies[1])
    server.terminate()
    asked = {line["reply_id"]: line for line in lines(server) if line["event"] == "reply asked for"}
    ended = {line["request_id"]: line for line in lines(server) if line["event"] == "reply ended"}
    for reply in replies:
        assert ended[asked[reply]["request_id"]]["status"] == "completed"
        assert asked[reply]["connection"] == "from-the-proxy"
    assert len(ended) == 2
    assert "secret" not in server.errors()


def test_a_failure_of_the_database_is_logged_under_the_id_that_the_caller_has(
    start_server: StartServer, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/chat.db"
    server = start_server(database)
    history = open_history(database)
    with WireClient(server.url, headers=["X-Request-Id: mine"]) as client:
        conversation = client.create()
        with history.engine.begin() as connection:
            connection.execute(text("ALTER TABLE turns RENAME TO lost"))
        assert client.send(conversation, "A secret phrase")["error"]["code"] == "internal"
        with history.engine.begin() as connection:
            connection.execute(text("ALTER TABLE users RENAME TO gone"))
        headers = {"X-Request-Id": "yours", "Authorization": "Bearer any"}
        assert requests.get(f"{server.url}/api/conversations", headers=headers, timeout=30).status_code == 500
    history.engine.dispose()
    server.terminate()
    failed = [line for line in lines(server) if line["level"] == "error"]
    assert ("event failed", "mine") in [(line["event"], line.get("connection")) for line in failed]
    assert ("request failed", "yours") in [(line["event"], line.get("request_id")) for line in failed]
    assert "secret" not in server.errors()


def test_what_libraries_log_is_json_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from web.logs import configure_logging

    monkeypatch.setattr(logging.root, "handlers", [])
    configure_logging()
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("chatbot.engine").exception("A reply failed.")
    [line] = capsys.readouterr().err.splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["level"]) == ("A reply failed.", "error")
    assert "ValueError: why" in logged["exception"]


def test_a_thread_that_fails_is_told_of_and_one_whose_line_is_closed_is_not(app: Flask) -> None:
    def fail(error: Exception) -> None:
        raise error

    with structlog.testing.capture_logs() as told:
        for error in (OSError(9, "Bad file descriptor"), ValueError("no such thing")):
            thread = threading.Thread(target=fail, args=(error,), name="sender")
            thread.start()
            thread.join()
    assert [(line["event"], line["thread"], str(line["exc_info"])) for line in told] == [
        ("thread failed", "sender", "no such thing")
    ]
