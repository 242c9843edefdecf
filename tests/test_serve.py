"""Whole servers as a person starts, stops and kills them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import requests
import websocket
from sqlalchemy import text

from chatbot.history import History, open_history
from tests.clients import ROOT, Refused, ServerProcess, WireClient, free_port
from tests.tiny_checkpoint import tiny_checkpoint

StartServer = Callable[..., ServerProcess]
CHATBOT = str(Path(sys.executable).with_name("chatbot"))
LOST = (OSError, websocket.WebSocketException, Refused)


def port_of(server: ServerProcess) -> int:
    return int(server.url.rsplit(":", 1)[1])


def assert_all_kept(database: str, conversation: str, texts: list[str]) -> None:
    """Every acknowledged text was said, in order and once, and answered; the events have no gap."""
    history = open_history(database)
    turns = history.active_branch(conversation)
    user = history.conversations()[0].user_id
    events, more = history.events_after(user, conversation, 0, 10_000)
    history.engine.dispose()
    assert [turn.text for turn in turns if turn.speaker == "user"] == texts
    assert {turn.status for turn in turns} == {"completed"}
    assert [turn.text for turn in turns if turn.speaker == "bot"] == [f"You said: {text}" for text in texts]
    assert [event.seq for event in events] == list(range(1, 3 * len(texts) + 1))
    assert not more


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_server_finishes_its_replies_accepts_no_one_and_exits_with_0(
    start_server: StartServer, tmp_path: Path, number: signal.Signals
) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, delay=0.2)
    with WireClient(server.url) as client:
        conversation, other = client.create(), client.create()
        sent = client.send(conversation, "one two three four five six seven eight nine ten")
        client.wait_for("reply.delta")
        # As a terminal does it on Ctrl-C: to every process of the group.
        os.killpg(server.process.pid, number)
        client.wait_for("notice", lambda notice: notice["type"] == "draining")
        assert client.send(other, "Too late?")["error"]["code"] == "draining"
        with pytest.raises(LOST):
            WireClient(server.url, timeout=0.5)
        assert client.reply_to(sent)["status"] == "completed"
        with pytest.raises(LOST):
            client.read_for(60)
    assert server.wait() == 0
    assert {json.loads(line)["level"] for line in server.errors().splitlines()} == {"info"}
    assert_all_kept(database, conversation, ["one two three four five six seven eight nine ten"])


def test_a_stopping_server_finishes_the_replies_of_clients_that_left(start_server: StartServer, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, delay=0.1)
    with WireClient(server.url) as client:
        conversation = client.create()
        client.send(conversation, "one two three four five six seven eight nine ten")
    assert server.terminate() == 0
    assert_all_kept(database, conversation, ["one two three four five six seven eight nine ten"])


def test_a_reply_that_takes_too_long_is_stopped_at_the_end(start_server: StartServer, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, delay=0.2, CHATBOT_DRAIN_SECONDS="0")
    with WireClient(server.url) as client:
        sent = client.send(client.create(), "word " * 500)
        client.wait_for("reply.delta")
        server.process.terminate()
        assert client.reply_to(sent)["status"] == "stopped"
    assert server.wait() == 0


# Dying


def test_after_kill_9_in_mid_reply_everything_acknowledged_is_there_and_the_reply_comes(
    start_server: StartServer, database: str
) -> None:
    server = start_server(database, delay=0.1)
    key, text = str(uuid.uuid4()), "a reply of many words that will not be finished in time"
    with WireClient(server.url) as client:
        conversation, token = client.create(), client.token
        client.say(conversation, "Hello")
        sent = client.send(conversation, text, key)
        client.wait_for("reply.delta", lambda delta: delta["reply_id"] == sent["reply_id"] and delta["index"] >= 2)
        server.kill()
    again = start_server(database, delay=0.1, port=port_of(server))
    with WireClient(again.url, token=token, resume=[{"conversation_id": conversation, "after_seq": 4}]) as client:
        assert client.send(conversation, text, key) == sent | {"duplicate": True}
        reply = client.reply_to(sent)
        assert (reply["text"], reply["status"]) == (f"You said: {text}", "completed")
        assert [event["seq"] for event in client.events(conversation)] == [5, 6]
        client.say(conversation, "And on")
    assert again.terminate() == 0
    assert_all_kept(database, conversation, ["Hello", text, "And on"])


def test_a_worker_that_dies_is_replaced_and_its_reply_comes(start_server: StartServer, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, delay=0.1)
    with WireClient(server.url) as client:
        conversation, token = client.create(), client.token
        sent = client.send(conversation, "word " * 20)
        os.kill(server.workers[0], signal.SIGKILL)
    with WireClient(server.url, token=token, resume=[{"conversation_id": conversation, "after_seq": 2}]) as client:
        assert client.reply_to(sent)["status"] == "completed"


@contextmanager
def talkers(url: str, count: int) -> Iterator[list[tuple[str, list[str]]]]:
    """Clients that send on and on, through every death of the server -> [(conversation, acknowledged texts)]."""
    said: list[tuple[str, list[str]]] = []
    enough = Event()

    def talk() -> None:
        with WireClient(url) as client:
            token, conversation = client.token, client.create()
        acknowledged: list[str] = []
        said.append((conversation, acknowledged))
        key, text = str(uuid.uuid4()), "message 0"
        while not enough.is_set():
            try:
                with WireClient(url, token=token) as client:
                    while not enough.is_set():
                        answer = client.send(conversation, text, key)
                        if answer["ok"]:
                            acknowledged.append(text)
                            key, text = str(uuid.uuid4()), f"message {len(acknowledged)}"
                        time.sleep(0.01)
            except LOST:
                time.sleep(0.05)

    threads = [Thread(target=talk) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield said
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def started_replies(history: History) -> int:
    with history.engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM turns WHERE status = 'started'")))


def wait_for_more(said: list[tuple[str, list[str]]], count: int, more: int) -> None:
    """Until each of `count` talkers has had `more` messages acknowledged."""
    while len(said) < count:
        time.sleep(0.01)
    wanted = [(acknowledged, len(acknowledged) + more) for _, acknowledged in said]
    while any(len(acknowledged) < enough for acknowledged, enough in wanted):
        time.sleep(0.01)


def test_killed_again_and_again_under_load_nothing_acknowledged_is_lost_or_doubled(
    start_server: StartServer, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"  # PostgreSQL: tests/faults
    limits = {"CHATBOT_MESSAGES_PER_MINUTE": "100000"}
    server = start_server(database, delay=0.01, **limits)
    port = port_of(server)
    with talkers(server.url, 4) as said:
        for _ in range(2):
            wait_for_more(said, 4, 5)
            server.kill()
            server = start_server(database, delay=0.01, port=port, **limits)  # the port is free at once
        wait_for_more(said, 4, 5)
    assert server.terminate() == 0
    history = open_history(database)
    for conversation, acknowledged in said:
        turns = [turn.text for turn in history.active_branch(conversation) if turn.speaker == "user"]
        assert turns[: len(acknowledged)] == acknowledged
        assert len(turns) <= len(acknowledged) + 1  # one whose acknowledgement was lost
    assert started_replies(history) == 0
    history.engine.dispose()


# Refusing to start


def fail(*options: str, **environment: str) -> str:
    """Start a server that cannot be -> the one sentence it says about it."""
    command = [CHATBOT, "serve", "--port", "0", *options]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 2, result
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    return line


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}: Address already in use" in fail(
            "--port", port, "--database", f"sqlite:///{tmp_path}/c.db"
        )


def test_a_bad_database_is_one_sentence(tmp_path: Path) -> None:
    assert "not a database URL" in fail("--database", "nonsense")
    unreachable = f"postgresql+psycopg://u:secret@/x?host={tmp_path}"
    assert "cannot be used" in (line := fail("--database", unreachable))
    assert "secret" not in line


def test_a_bad_redis_is_one_sentence(tmp_path: Path) -> None:
    database = ("--database", f"sqlite:///{tmp_path}/c.db")
    assert "CHATBOT_REDIS='localhost'" in fail("--redis", "localhost", *database)
    assert "Redis of CHATBOT_REDIS cannot be used" in fail("--redis", f"redis://127.0.0.1:{free_port()}", *database)


def test_a_missing_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    options = ("--checkpoint", str(tmp_path / "nothing"), "--database", f"sqlite:///{tmp_path}/c.db")
    assert f"There is no checkpoint in {tmp_path / 'nothing'}" in fail(*options)


def test_a_bad_setting_is_one_sentence() -> None:
    assert "CHATBOT_CONNECTIONS='many'" in fail(CHATBOT_CONNECTIONS="many")
    assert "CHATBOT_PORT=99999" in fail("--port", "99999")
    assert "CHATBOT_NAME='<b>' cannot be used: a name has 1 to 30 letters" in fail("--name", "<b>")


# The real thing


def test_a_model_answers_over_a_websocket_and_remembers(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    database = f"sqlite:///{tmp_path}/chatbot.db"
    options = ["--checkpoint", str(checkpoint.folder), "--database", database, "--port", "0"]
    server = ServerProcess([CHATBOT, "serve", *options])
    try:
        assert requests.get(f"{server.url}/healthz", timeout=10).json() == {"status": "ok", "checkpoint": checkpoint.id}
        with WireClient(server.url) as client:
            assert client.ready["model"] == {"checkpoint": checkpoint.id}
            conversation = client.create()
            for text in ("hello", "how are you"):
                reply = client.reply_to(client.send(conversation, text))
                assert reply["status"] == "completed"
                assert reply["text"]
                assert reply["checkpoint"] == checkpoint.id
        assert server.terminate() == 0
    finally:
        server.close()
    history = open_history(database)
    with history.engine.connect() as connection:
        states = connection.exec_driver_sql("SELECT length(state) FROM turns ORDER BY seq").scalars().all()
    history.engine.dispose()
    assert states == [4 * checkpoint.model.config.state_size] * 4
