"""The compose file is valid and has no secret, and its services run as plain processes, on a real PostgreSQL."""

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import socketio
import yaml
from psycopg.sql import SQL, Identifier

from chatbot.persona import OWN_NAME
from tests.clients import free_port
from tests.postgres import Postgres

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]
PROGRAMS = Path(sys.executable).parent
PASSWORD = "p@ss/word #1"


def environment_of(service: str) -> dict[str, str]:
    """What compose hands to a service once POSTGRES_PASSWORD is set, and nothing else."""
    secret, default = re.compile(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}"), re.compile(r"\$\{\w+:-([^}]*)\}")
    return {
        name: default.sub(r"\1", secret.sub(PASSWORD, str(value)))
        for name, value in SERVICES[service]["environment"].items()
    }


def health_check_of(service: str) -> list[str]:
    return SERVICES[service]["healthcheck"]["test"][1:]


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


@pytest.fixture
def database_port(postgres: Postgres) -> int:
    """Of a PostgreSQL with the user, the password and the database that the `database` service is set up with."""
    settings = environment_of("database")
    user, name = Identifier(settings["POSTGRES_USER"]), Identifier(settings["POSTGRES_DB"])
    with postgres.connect() as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, settings["POSTGRES_PASSWORD"]))
        connection.execute(SQL("CREATE DATABASE {} OWNER {}").format(name, user))
    program, *arguments = health_check_of("database")
    subprocess.run([postgres.programs / program, *arguments, f"--port={postgres.port}"], check=True)
    return postgres.port


def test_the_file_holds_to_the_compose_schema():
    check = [PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE]
    result = subprocess.run(check, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_password_has_no_default_and_reaches_whoever_needs_it():
    assert set(re.findall(r"POSTGRES_PASSWORD(:.)", COMPOSE.read_text())) == {": ", ":?"}
    assert all(PASSWORD in environment_of(service).values() for service in ("web", "migrate", "database"))


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_takes_more_of_the_machine_than_it_may(service: str):
    limits = SERVICES[service]
    assert limits["mem_limit"]
    assert limits["pids_limit"] >= 128
    assert limits["ulimits"]["nofile"] >= 8192


def test_every_library_has_a_version_above_which_it_is_not_taken():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["postgres"], *extras["redis"], *extras["vectors"]]
    assert [one for one in needed if "<" not in one and "==" not in one] == []


def test_nobody_but_nginx_is_reached_from_outside_and_that_from_this_machine_only():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"nginx": ["127.0.0.1:${PORT:-8000}:8080"]}


def test_nginx_listens_where_it_is_reached_and_passes_on_to_the_web_service():
    said = (ROOT / "nginx.conf").read_text()
    [web] = re.findall(r"set \$web (\S+);", said)
    assert web == f"web:{environment_of('web')['CHATBOT_PORT']}"
    assert SERVICES["nginx"]["ports"][0].endswith(":" + re.findall(r"listen (\d+);", said)[0])
    assert "X-Forwarded-For $remote_addr" in said  # what a client itself says of its address is thrown away
    assert environment_of("web")["CHATBOT_PROXIES"] == "1"


def test_the_chatbot_can_be_given_a_name():
    assert SERVICES["web"]["environment"]["CHATBOT_NAME"] == f"${{CHATBOT_NAME:-{OWN_NAME}}}"


def test_the_image_has_what_its_services_need():
    [extras] = re.findall(r"source\[([a-z,]+)\]", (ROOT / "Dockerfile").read_text())
    assert set(extras.split(",")) == {"postgres", "redis"}


def test_the_services_run_as_plain_processes_on_a_real_postgresql_and_a_real_valkey(
    database_port: int, valkey: str, tmp_path: Path
):
    port = free_port()
    settings = environment_of("web") | {"CHATBOT_HOST": "127.0.0.1", "CHATBOT_PORT": str(port)}
    settings["CHATBOT_DATABASE"] = settings["CHATBOT_DATABASE"].replace("@database:5432", f"@127.0.0.1:{database_port}")
    settings["CHATBOT_REDIS"] = settings["CHATBOT_REDIS"].replace("redis://valkey:6379", valkey)
    process = {"cwd": tmp_path, "env": os.environ | settings}
    program, *arguments = SERVICES["migrate"]["command"]
    subprocess.run([PROGRAMS / program, *arguments], check=True, **process)
    program, *arguments = SERVICES["web"]["command"]
    _, *check = (part.replace("8000", str(port)) for part in health_check_of("web"))
    with running([PROGRAMS / program, *arguments], [sys.executable, *check], tmp_path / "web.log", **process) as server:
        with socketio.SimpleClient() as client:
            client.connect(f"http://127.0.0.1:{port}", auth={"protocol": 1}, transports=["websocket"])
            made = client.call("conversation.create", {"title": "By compose"})
        with psycopg.connect(host="127.0.0.1", port=database_port, user="chatbot", password=PASSWORD) as connection:
            rows = connection.execute("SELECT id, title FROM conversations").fetchall()
    assert rows == [(made["conversation_id"], "By compose")]
    assert server.returncode == 0
