"""Fixtures shared by the tests: databases of both kinds, and real servers in processes of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatbot.history import History, open_history
from tests.clients import ECHO_SERVER, ServerProcess
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


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
    """Start servers with the echo engine: start_server(database, delay=0.1, port=0, CHATBOT_CONNECTIONS="2")."""
    servers: list[ServerProcess] = []

    def start(database: str, delay: float = 0.0, port: int = 0, **environment: str) -> ServerProcess:
        options = ["--database", database, "--delay", str(delay), "--port", str(port)]
        servers.append(ServerProcess([*ECHO_SERVER, *options], **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
