"""People come, talk and go for as long as FAULTS_SOAK_MINUTES says (30), and the server is as it was before."""

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients import ServerProcess
from tests.faults.processes import assert_threads_back_at, fill_threads, megabytes_of
from tests.faults.talker import UNLIMITED, Talker, assert_kept
from tests.test_serve import CHATBOT
from tests.tiny_checkpoint import tiny_checkpoint

Record = Callable[..., None]
MINUTES = float(os.environ.get("FAULTS_SOAK_MINUTES", "30"))
PEOPLE = 50


def come_and_go(url: str, seed: int, enough: threading.Event) -> list[Talker]:
    """One after another comes, says a few things and leaves for good."""
    visitors: list[Talker] = []
    r = random.Random(seed)
    while not enough.is_set():
        visitors.append(Talker(url, f"visitor {seed}.{len(visitors)}", silence=30, echo=False))
        visitors[-1].talk(enough, turns=r.randrange(1, 30), pause=r.random() / 2)
        assert visitors[-1].losses == 0
    return [visitor for visitor in visitors if visitor.conversation]


def visited(url: str, seconds: float) -> list[Talker]:
    enough = threading.Event()
    with ThreadPoolExecutor(PEOPLE) as pool:
        futures = [pool.submit(come_and_go, url, seed, enough) for seed in range(PEOPLE)]
        time.sleep(seconds)
        enough.set()
        return [visitor for future in futures for visitor in future.result()]


@pytest.fixture
def server(database: str, tmp_path: Path) -> ServerProcess:
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    options = ["--checkpoint", str(checkpoint.folder), "--database", database, "--port", "0"]
    return ServerProcess([CHATBOT, "serve", *options], CHATBOT_CONNECTIONS=str(PEOPLE + 10), **UNLIMITED)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_after_a_soak_threads_and_memory_are_as_before(database: str, server: ServerProcess, record: Record) -> None:
    try:
        fill_threads(server, PEOPLE + 10)
        visited(server.url, 30)
        base = fill_threads(server, PEOPLE + 10)
        before = megabytes_of(server)
        visitors = visited(server.url, 60 * MINUTES)
        assert_threads_back_at(server, base)
        after = megabytes_of(server)
        messages = assert_kept(database, visitors)
        record(minutes=MINUTES, visitors=len(visitors), messages=messages, threads=base, MB=f"{before} -> {after}")
        assert after <= before + 30
        assert server.terminate() == 0
    finally:
        server.close()
