"""`chatbot retrain` as a child process: started and stopped by the operator, and on its own otherwise.

What it does stands in SQL, as of any retraining. A server that ends lets its child go on.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
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
    """At most one child at a time, of whichever worker. Safe to share between threads; raises ProtocolError."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._folder = home() / "retrain"
        self._note = self._folder / ".child"  # whose child, and which; locked by the child as long as it lives
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, promote: bool) -> None:
        """Begin, or go on with what was stopped; its outcome is kept in `home()/retrain/child.log`. Raises OSError."""
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._note.open("a") as note:
                if _is_taken(self._folder / ".lock") or not _take(note):
                    raise ProtocolError("busy", "A retraining is going on already; wait for it, or stop it first.")
                self._write_note(self._begin(promote, note.fileno()), stopping=False)

    def _begin(self, promote: bool, lock: int) -> int:
        # Without a name: it tells new words, which must not outlive what people erase.
        errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the next child's)
        with (self._folder / "child.log").open("wb") as log:
            self._child = subprocess.Popen(
                ["nice", "-n", "10", *command(promote)],  # replies come first
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                env=os.environ | {"CHATBOT_DATABASE": self._database},  # an argument could be read by anybody
                start_new_session=True,
                pass_fds=[lock],
            )
        self._errors = errors
        return self._child.pid

    def stop(self) -> None:
        """As Ctrl-C does: what was done is kept, and the next start goes on with it."""
        with self._lock:
            running = self._noted() if _is_taken(self._note) else None
            if running is None:
                raise ProtocolError("not_found", "This server has no retraining running; stop it where it was started.")
            if not running["stopping"]:
                self._write_note(running["pid"], stopping=True)
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(running["pid"], signal.SIGINT)

    def describe(self) -> dict[str, Any]:
        """state (none, running, stopping, stopped, failed, ended; elsewhere: one that this server did not start is
        running) and, where it failed, why. How one ended that another worker started, is known to that one only."""
        with self._lock:
            state = self._state()
            return {"state": state, "message": self._fault() if state == "failed" else ""}

    def _state(self) -> str:
        is_running, noted = _is_taken(self._note), self._noted()
        if is_running and noted:
            return "stopping" if noted["stopping"] else "running"
        if is_running or _is_taken(self._folder / ".lock"):
            return "elsewhere"
        if noted is None:
            return "none"
        if self._child is None or self._child.pid != noted["pid"]:
            return "stopped" if noted["stopping"] else "none"
        if self._child.wait() == 0:
            return "ended"
        return "stopped" if noted["stopping"] else "failed"

    def _write_note(self, pid: int, *, stopping: bool) -> None:
        self._note.write_text(json.dumps({"server": _server(), "pid": pid, "stopping": stopping}), encoding="utf-8")

    def _noted(self) -> dict[str, Any] | None:
        """The child that a worker of this server started last."""
        try:
            noted: dict[str, Any] = json.loads(self._note.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return noted if noted["server"] == _server() else None

    def _fault(self) -> str:
        if self._child and self._child.returncode < 0:
            return f"It was ended by {signal.Signals(-self._child.returncode).name}."
        return _last_line(self._errors) if self._errors else ""


def _server() -> str:
    """The same for all workers of a server, and for those of no other."""
    return f"{socket.gethostname()} {os.getppid()}"


def _is_taken(lock: Path) -> bool:
    """Whether somebody is at it: whoever is, locks this file until they end, however they end."""
    if not lock.parent.is_dir():
        return False
    with lock.open("a") as file:
        return not _take(file, fcntl.LOCK_SH)


def _take(file: IO[str], how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_line(file: IO[bytes]) -> str:
    """The last line with anything in it, without what commands a terminal."""
    size = os.fstat(file.fileno()).st_size
    said = os.pread(file.fileno(), _LAST_BYTES, max(0, size - _LAST_BYTES)).decode("utf-8", errors="replace")
    lines = [line for line in click.unstyle(said).splitlines() if line.strip()]
    return "".join(filter(str.isprintable, lines[-1]))[:_WIDEST] if lines else "It ended without saying why."
