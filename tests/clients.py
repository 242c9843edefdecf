"""Clients of the tests: one that sees every frame in order, and a server process to talk to."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import websocket

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class ServerProcess:
    """A server in a process group of its own, as a person starts it; `url` once it can be reached."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the server)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        found = re.search(r"http://\S+", line)
        if not found:
            errors = self.errors()
            self.close()
            raise RuntimeError(f"The server did not start: {line}{errors}")
        self.url = found[0].rstrip("/")

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers, the oldest first."""
        return sorted(_children(self.process.pid))

    @property
    def engines(self) -> list[int]:
        """The process ids of its workers' engines; there is none of an echo server."""
        return [engine for worker in self.workers for engine in _children(worker)]

    def errors(self) -> str:
        """What it has written to stderr; read without moving the place at which the server writes on."""
        file = self._errors.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode()

    def terminate(self, timeout: float = 60) -> int:
        """SIGTERM -> exit code."""
        self.process.terminate()
        return self.wait(timeout)

    def kill(self) -> None:
        """kill -9 of the process that was started."""
        self.process.kill()
        self.wait()

    def wait(self, timeout: float = 60) -> int:
        self.process.communicate(timeout=timeout)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.wait()
        self._errors.close()


def _children(pid: int) -> list[int]:
    """Of any of its threads."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # one that has just ended
            found += map(int, (thread / "children").read_text().split())
    return found


def echo_server(
    database: str, delay: float = 0.0, port: int = 0, lease: float | None = None, **environment: str
) -> ServerProcess:
    """The whole server with the echo engine: echo_server(url, delay=0.1, CHATBOT_CONNECTIONS="2")."""
    command = [sys.executable, str(ROOT / "tests" / "echo_server.py"), "--database", database]
    command += ["--lease", str(lease)] if lease else []
    return ServerProcess([*command, "--delay", str(delay), "--port", str(port)], **environment)


class Refused(Exception):
    """The server did not let this client in; `error` is {code, message}."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


class WireClient:
    """Protocol v1 over a bare websocket: what was received, frame by frame, in the order of the wire."""

    def __init__(self, url: str, timeout: float = 30, headers: Sequence[str] = (), **auth: Any) -> None:
        address = url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        self._socket = websocket.create_connection(address, timeout=timeout, header=list(headers))
        self._next_ack = 0
        self._acks: dict[int, Any] = {}
        self.received: list[tuple[str, Any]] = []
        self._socket.recv()  # Engine.IO's open packet
        self.send_frame("40" + json.dumps(auth))
        self.ready = self.wait_for("ready")

    def __enter__(self) -> "WireClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        """Its own end of the connection."""
        host, port, *_ = self._socket.sock.getsockname()
        return host, port

    @property
    def token(self) -> str:
        return str(self.ready["token"])

    def close(self) -> None:
        self._socket.close()

    def send_frame(self, frame: str) -> None:
        self._socket.send(frame)

    def send_bytes(self, attachment: bytes) -> None:
        self._socket.send_binary(attachment)

    def call(self, event: str, payload: Any = None, **fields: Any) -> dict[str, Any]:
        """Send an event -> what it is acknowledged with."""
        self._next_ack += 1
        number = self._next_ack
        self.send_frame(f"42{number}" + json.dumps([event, fields if payload is None else payload]))
        return self.answer_to(number)

    def answer_to(self, number: int) -> dict[str, Any]:
        while number not in self._acks:
            self._read()
        return dict(self._acks.pop(number))

    def wait_for(self, name: str, matches: Callable[[Any], bool] = lambda payload: True) -> Any:
        """The first event of that name that matches, already here or to come."""
        seen = 0
        while True:
            for got, payload in self.received[seen:]:
                if got == name and matches(payload):
                    return payload
            seen = len(self.received)
            self._read()

    def read_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                self._read()
            except websocket.WebSocketTimeoutException:
                break
        self._socket.settimeout(30)

    def events(self, conversation_id: str) -> list[dict[str, Any]]:
        got = [payload for name, payload in self.received if name == "event"]
        return [event for event in got if event["conversation_id"] == conversation_id]

    def deltas(self, reply_id: str) -> list[dict[str, Any]]:
        return [data for name, data in self.received if name == "reply.delta" and data["reply_id"] == reply_id]

    # What most tests do

    def create(self) -> str:
        return str(self.call("conversation.create")["conversation_id"])

    def send(self, conversation_id: str, text: str, client_msg_id: str | None = None, **more: Any) -> dict[str, Any]:
        client_msg_id = client_msg_id or str(uuid.uuid4())
        return self.call(
            "message.send", conversation_id=conversation_id, client_msg_id=client_msg_id, text=text, **more
        )

    def reply_to(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Wait for the end of the reply that `sent` was acknowledged with -> the data of reply.completed."""
        return self.completed(sent["reply_id"])

    def completed(self, reply_id: str) -> dict[str, Any]:
        event = self.wait_for(
            "event", lambda event: event["type"] == "reply.completed" and event["data"]["reply_id"] == reply_id
        )
        return dict(event["data"])

    def say(self, conversation_id: str, text: str) -> str:
        """One whole turn -> the reply's text."""
        return str(self.reply_to(self.send(conversation_id, text))["text"])

    def _read(self) -> None:
        frame = self._socket.recv()
        if frame in ("", "1"):
            raise ConnectionError("The server closed the connection.")
        if frame == "2":  # ping
            return self.send_frame("3")
        if frame.startswith("44"):
            raise Refused(json.loads(frame[2:])["data"])
        kind, number, body = re.match(r"4([0-9])(\d*)(.*)", frame, re.DOTALL).groups()  # type: ignore[union-attr]
        if kind == "2":
            name, *payload = json.loads(body)
            self.received.append((name, payload[0] if payload else None))
        elif kind == "3":
            self._acks[int(number)] = json.loads(body)[0]
