"""What anybody can send without end costs the server nothing: neither memory nor lines of its log."""

import http.client
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests
from simple_websocket import ConnectionClosed

from tests.clients import ROOT, ServerProcess, WireClient
from web.frames import BoundedWebsocket

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
JSON = b"Host: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
TEXT, CONTINUATION, LAST = 1, 0, 0x80


def frame(kind: int, body: bytes) -> bytes:
    return bytes([kind, 0xFF]) + len(body).to_bytes(8) + bytes(4) + body


@pytest.fixture
def line() -> Iterator[tuple[BoundedWebsocket, socket.socket]]:
    """A websocket that takes messages of 100,000 bytes, and the client's end of it."""
    here, there = socket.socketpair()
    there.settimeout(10)
    headers = [line.split(b": ") for line in HANDSHAKE.split(b"\r\n")[1:-2]]
    environ = {"HTTP_" + name.decode().upper().replace("-", "_"): value.decode() for name, value in headers}
    yield BoundedWebsocket({"gunicorn.socket": here, **environ}, 100_000), there
    there.close()


def test_a_message_in_endless_fragments_ends_its_connection(line: tuple[BoundedWebsocket, socket.socket]) -> None:
    websocket, client = line
    with suppress(OSError):
        for sent in range(1_000):
            client.sendall(frame(CONTINUATION if sent else TEXT, b"x" * 66_000))
    with pytest.raises(ConnectionClosed):
        websocket.receive(10)
    assert len(websocket.incoming_message) < 100_000


def test_messages_are_read_only_as_they_are_handled(line: tuple[BoundedWebsocket, socket.socket]) -> None:
    websocket, client = line
    client.settimeout(1)
    with pytest.raises(TimeoutError):
        client.sendall(1_000 * frame(LAST | TEXT, b"x" * 66_000))
    assert len(websocket.input_buffer) <= 2
    assert [websocket.receive(10) for _ in range(3)] == ["x" * 66_000] * 3


def test_small_messages_are_read_only_as_they_are_handled(line: tuple[BoundedWebsocket, socket.socket]) -> None:
    websocket, client = line
    client.sendall((bytes([LAST | TEXT, 0x81]) + bytes(4) + b"x") * 2_000)
    time.sleep(0.5)
    assert len(websocket.input_buffer) < 1_000
    assert [websocket.receive(10) for _ in range(2_000)] == ["x"] * 2_000


def test_a_worker_outlives_the_exhaustion_of_its_files(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -n 120; exec "$@"', "sh", sys.executable, str(ROOT / "tests" / "echo_server.py")]
    server = ServerProcess([*limited, "--database", f"sqlite:///{tmp_path}/chat.db"])
    try:
        [worker] = server.workers
        address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        for _ in range(2):
            with ExitStack() as silent:
                for _ in range(250):
                    silent.enter_context(socket.create_connection(address, timeout=30))
                assert requests.get(f"{server.url}/healthz", timeout=30).status_code == 200
        with WireClient(server.url) as client:
            assert client.say(client.create(), "Hello") == "You said: Hello"
        assert server.workers == [worker]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("method", "path", "size", "headers"),
    [
        ("POST", "/v1/chat/completions", 100_000, {"Content-Type": "text/plain"}),
        ("POST", "/v1/chat/completions", 1_100_000, {"Content-Type": "application/json"}),
        ("POST", "/v1/nothing", 100, {}),
        ("POST", "/v1/models", 100_000, {}),
        ("GET", "/v1/models", 100_000, {}),
        ("POST", "/", 100_000, {}),
    ],
)
def test_an_answer_after_which_the_server_closes_says_so(
    start_server: Callable[..., ServerProcess],
    tmp_path: Path,
    method: str,
    path: str,
    size: int,
    headers: dict[str, str],
) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db")
    line = http.client.HTTPConnection("127.0.0.1", int(server.url.rsplit(":", 1)[1]), timeout=30)
    for chunks in (b"x" * size, iter([b"x" * size])):
        line.request(method, path, chunks, headers)
        answer = line.getresponse()
        answer.read()
        assert answer.headers["Connection"] == "close"
        line.request("GET", "/healthz")
        answer = line.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, "keep-alive")
        answer.read()
    line.close()


UNREADABLE = {
    "a version": HANDSHAKE.replace(b"Version: 13", b"Version: 99"),
    "no key": HANDSHAKE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    "a header": HANDSHAKE.replace(b"Host: localhost", b"Host: localhost\r\nX-\xff: a"),
    "another's origin": HANDSHAKE.replace(b"Host: localhost", b"Host: localhost\r\nOrigin: http://["),
    "an origin": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nOrigin: http://[\r\n\r\n",
    "the size of a chunk": b"POST /v1/chat/completions HTTP/1.1\r\n" + JSON + b"zz\r\n\r\n",
    "the end of a chunk": b"POST /v1/chat/completions HTTP/1.1\r\n" + JSON + b"5\r\nabcdeXX0\r\n\r\n",
    "a year": b"GET /static/chat.js HTTP/1.1\r\nHost: x\r\nIf-Range: a\r\n"
    b"If-Modified-Since: Mon, 01 Jan 99999999999 00:00:00 GMT\r\n\r\n",
    "a line": b"GET http://[/ HTTP/1.1\r\nHost: x\r\n\r\n",
}


def answer_of(server: ServerProcess, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=30) as line:
        line.sendall(request)
        return line.recv(65536)


def test_what_cannot_be_read_is_refused_and_not_logged(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db", CHATBOT_ORIGINS="https://shop.example")
    answer_of(server, UNREADABLE["another's origin"])  # Engine.IO tells of the first one only
    before = server.errors()
    for name, request in UNREADABLE.items():
        assert answer_of(server, request).startswith(b"HTTP/1.1 40"), name
    with WireClient(server.url) as client:
        client.create()
    assert server.errors().removeprefix(before) == ""
