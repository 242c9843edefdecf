"""Whoever says nothing, too much or too slowly gets no more than their place; all others are answered meanwhile."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.clients import ServerProcess
from tests.faults.processes import (
    asking_after_its_health,
    assert_threads_back_at,
    fill_threads,
)
from tests.faults.talker import UNLIMITED, Talker, assert_kept, talking, wait_until_all_go_on

Record = Callable[..., None]
StartServer = Callable[..., ServerProcess]

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SLOW: dict[str, bytes] = {
    "nothing": b"",
    "half a head": HANDSHAKE[:-30],
    "a line that nobody is on": HANDSHAKE,
    "a body that never comes": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
    "an answer that is not taken": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a key that is wrong": HANDSHAKE + b"\x81\x95\0\0\0\0" + b'40{"token":"unknown"}',
    "a goodbye": HANDSHAKE + b"\x81\x82\0\0\0\0" + b"40" + b"\x81\x81\0\0\0\0" + b"1",
}


def flood(server: ServerProcess, beginning: bytes, times: int) -> list[socket.socket]:
    """So many connections that begin like this and then neither go on nor end."""
    address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    lines = []
    for _ in range(times):
        lines.append(socket.create_connection(address, timeout=60))
        with suppress(OSError):  # it may have been told already that there is no room
            lines[-1].sendall(beginning)
    return lines


@pytest.mark.parametrize("beginning", SLOW)
def test_a_flood_of_slow_handshakes(start_server: StartServer, tmp_path: Path, record: Record, beginning: str) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, 0.01, CHATBOT_CONNECTIONS="100", **UNLIMITED)
    base = fill_threads(server, 100)
    talker = Talker(server.url, silence=30)
    count = 1000
    with asking_after_its_health(server.url) as took, talking([talker]):
        wait_until_all_go_on([talker])
        lines = flood(server, SLOW[beginning], count)
        until = time.monotonic() + 15
        while time.monotonic() < until:
            wait_until_all_go_on([talker])
        for line in lines:
            line.close()
    record(connections=count, healthz_worst_ms=round(1000 * max(took)), messages=assert_kept(database, [talker]))
    assert max(took) < 5
    assert talker.losses == 0
    assert_threads_back_at(server, base + 2)
    assert server.terminate() == 0
