"""`chatbot retrain` as a child process: started and stopped by the operator, and on its own otherwise.

What it does stands in SQL, as of any retraining. A server that ends lets its child go on.
"""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import click

from chatbot.home import home
from web.protocol import ProtocolError

_LAST_BYTES = 4_096
_WIDEST = 500  # characters of a message


def command(promote: bool) -> list[str]:
    script = str(Path(sys.executable).with_name("chatbot"))
    return [script, "retrain", *(["--promote"] if promote else [])]


class Retraining:
    """At most one child at a time. Safe to share between threads; raises ProtocolError."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._is_stopping = False
        self._lock = threading.Lock()

    def start(self, promote: bool) -> None:
        """Begin, or go on with what was stopped; its outcome is kept in `home()/retrain/child.log`. Raises OSError."""
        with self._lock:
            folder = home() / "retrain"
            folder.mkdir(parents=True, exist_ok=True)
            if self._is_running() or _is_taken(folder):
                raise ProtocolError("busy", "A retraining is going on already; wait for it, or stop it first.")
            # Without a name: it tells new words, which must not outlive what people erase.
            errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the next child's)
            with (folder / "child.log").open("wb") as log:
                self._child = subprocess.Popen(
                    ["nice", "-n", "10", *command(promote)],  # replies come first
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=errors,
                    env=os.environ | {"CHATBOT_DATABASE": self._database},  # an argument could be read by anybody
                    start_new_session=True,
                )
            self._errors, self._is_stopping = errors, False

    def stop(self) -> None:
        """As Ctrl-C does: what was done is kept, and the next start goes on with it."""
        with self._lock:
            if self._child is None or not self._is_running():
                raise ProtocolError("not_found", "This server has no retraining running; stop it where it was started.")
            if not self._is_stopping:
                self._is_stopping = True
                self._child.send_signal(signal.SIGINT)

    def describe(self) -> dict[str, Any]:
        """state (none, running, stopping, stopped, failed, ended; elsewhere: one that this server did not start is
        running) and, where it failed, why."""
        with self._lock:
            state = self._state()
            return {"state": state, "message": self._fault() if state == "failed" else ""}

    def _is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _state(self) -> str:
        if self._child and self._is_running():
            return "stopping" if self._is_stopping else "running"
        if _is_taken(home() / "retrain"):
            return "elsewhere"
        if self._child is None:
            return "none"
        if self._child.returncode == 0:
            return "ended"
        return "stopped" if self._is_stopping else "failed"

    def _fault(self) -> str:
        if self._child and self._child.returncode < 0:
            return f"It was ended by {signal.Signals(-self._child.returncode).name}."
        return _last_line(self._errors) if self._errors else ""


def _is_taken(folder: Path) -> bool:
    """Whether somebody else retrains: each one locks this file until it ends, however it ends."""
    if not folder.is_dir():
        return False
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _last_line(file: IO[bytes]) -> str:
    """The last line with anything in it, without what commands a terminal."""
    size = os.fstat(file.fileno()).st_size
    said = os.pread(file.fileno(), _LAST_BYTES, max(0, size - _LAST_BYTES)).decode("utf-8", errors="replace")
    lines = [line for line in click.unstyle(said).splitlines() if line.strip()]
    return "".join(filter(str.isprintable, lines[-1]))[:_WIDEST] if lines else "It ended without saying why."
