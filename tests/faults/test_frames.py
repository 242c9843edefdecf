"""Malformed frames, events, bytes and sizes: the server stays up, answers others, and tells nobody its insides."""

import json
import random
import socket
import time
import uuid
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
import websocket

from tests.clients import ServerProcess, WireClient
from tests.faults.processes import assert_threads_back_at, fill_threads, megabytes_of, status_of
from tests.faults.talker import LOST, UNLIMITED, Talker, assert_kept, talking, wait_until_all_go_on
from web.protocol import FROM_CLIENT, FROM_RASA

Record = Callable[..., None]
StartServer = Callable[..., ServerProcess]

CHECKOUT = str(Path(__file__).parents[2])
INSIDES = ("Traceback", 'File "', "Error(", "sqlalchemy", "sqlite3", "psycopg", CHECKOUT, "site-packages")
EVENTS = (*FROM_CLIENT, *FROM_RASA, "connect", "disconnect", "*", "message", "__proto__", "", "\0", "x" * 5000)
FIELDS = sorted({name for model, _ in FROM_CLIENT.values() for name in model.model_fields} | {"session_id", "$ne"})
STARTS = ("42", "42", "42", "40", "43", "45", "451-", "461-", "459999999999-", "4", "0", "2", "3", "5", "6", "b", "")
NUMBERS = (0, -1, 2**31, 2**63, 2**64, 10**300, 1e308, -0.0)


class Vandal:
    """Makes frames from a seed, each wrong in its own way."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def frame(self) -> str:
        ways = (self._wrong_payload, self._cut_short, self._scrambled, self._deep, self._huge_id, self._noise)
        return self._random.choice(ways)()

    def _value(self, depth: int = 0) -> Any:
        r = self._random
        if depth < 3 and r.random() < 0.3:
            return [self._value(depth + 1) for _ in range(r.randrange(4))]
        if depth < 3 and r.random() < 0.3:
            return {r.choice(FIELDS): self._value(depth + 1) for _ in range(r.randrange(5))}
        text = r.choice(("", "\0", "\ud800", "x" * 5000, "☃", "';--", str(uuid.UUID(int=r.getrandbits(128)))))
        return r.choice((None, True, r.choice(NUMBERS), text, text, {"_placeholder": True, "num": r.choice(NUMBERS)}))

    def _wrong_payload(self) -> str:
        arguments = [self._value() for _ in range(self._random.choice((0, 1, 1, 1, 2)))]
        start, number = self._random.choice(STARTS), self._random.choice(("", "7"))
        return start + number + json.dumps([self._random.choice(EVENTS), *arguments])

    def _cut_short(self) -> str:
        whole = self._wrong_payload()
        return whole[: self._random.randrange(len(whole) + 1)]

    def _scrambled(self) -> str:
        characters = list(self._wrong_payload()[:2000])
        for _ in range(self._random.randrange(1, 10)):
            place = self._random.randrange(len(characters))
            characters[place] = self._random.choice('[]{}",:/-0123456789\\\0\u2028é')
        return "".join(characters)

    def _deep(self) -> str:
        opening = self._random.choice(("[", '{"a":', '[{"a":'))
        return '42["sync",' + opening * self._random.choice((10, 100, 1000, 20_000))

    def _huge_id(self) -> str:
        return self._random.choice(("42", "43", "451-")) + "9" * self._random.choice((20, 100, 5000)) + '["sync",{}]'

    def _noise(self) -> str:
        return "".join(chr(self._random.randrange(0xD7FF)) for _ in range(self._random.randrange(100)))


def vandalise(url: str, seed: int, frames: int) -> int:
    """Send that many: each line goes on for as long as the server lets it -> lines ended."""
    vandal, sent, ended = Vandal(seed), 0, 0
    while sent < frames:
        with WireClient(url) as client:
            try:
                while sent < frames:
                    client.send_frame(vandal.frame())
                    sent += 1
                    wait_for_answer(client)
            except websocket.WebSocketTimeoutException as error:
                raise AssertionError(f"A line of seed {seed} was left open and deaf.") from error
            except LOST:
                ended += 1
    return ended


def wait_for_answer(client: WireClient) -> None:
    """Ask for something proper and read until it is answered. Raises what is in LOST where the line ends."""
    client.send_frame('42123456["reply.stop",{}]')
    frame = "2"
    while not frame.startswith("43123456["):
        if frame == "2":
            client.send_frame("3")
        frame = client._socket.recv()
        assert_nothing_told(frame)
        if not frame:
            raise ConnectionError("The server ended the line.")


def assert_nothing_told(told: str) -> None:
    assert not any(word in told for word in INSIDES), told[:2000]


def attacked(server: ServerProcess, frames: int, vandals: int = 8) -> tuple[int, Talker]:
    """Frames of several vandals at once, while somebody talks -> lines ended, and who talked."""
    talker = Talker(server.url, silence=30)
    with talking([talker]), ThreadPoolExecutor(vandals) as pool:
        ended = sum(pool.map(lambda seed: vandalise(server.url, seed, frames // vandals), range(vandals)))
        wait_until_all_go_on([talker])
    assert talker.losses == 0
    return ended, talker


def test_100_000_malformed_frames(start_server: StartServer, tmp_path: Path, record: Record) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, 0.01, CHATBOT_CONNECTIONS="20", **UNLIMITED)
    base = fill_threads(server, 20)
    attacked(server, 2_000)
    before = megabytes_of(server)
    ended, talker = attacked(server, 100_000)
    assert_threads_back_at(server, base + 2)
    after = megabytes_of(server)
    assert after < before + 50
    assert_nothing_told(requests.get(f"{server.url}/healthz", timeout=30).text)
    record(frames=100_000, lines_ended=ended, messages_meanwhile=len(talker.acknowledged), MB=f"{before} -> {after}")
    assert assert_kept(database, [talker])
    assert server.terminate() == 0


HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def garbage(seed: int) -> bytes:
    """Bytes that are no request, or no websocket's frames after one that is."""
    r = random.Random(seed)
    noise = r.randbytes(r.randrange(1, 3000))
    if seed % 4 == 0:
        return noise
    if seed % 4 == 1:
        return HANDSHAKE[: r.randrange(len(HANDSHAKE))] + noise
    return HANDSHAKE + r.choice((b"", b"\x81\x82\0\0\0\0" + b"40", b"\xc1\xfe\xff\xff\0\0\0\0")) + noise


def throw(server: ServerProcess, thrown: bytes) -> bytes:
    """What it is answered with, until the server ends it."""
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=60) as line:
        answer = b""
        try:
            line.sendall(thrown)
            while more := line.recv(65536):
                answer += more
        except ConnectionError:
            pass
    return answer


def test_garbage_on_the_wire(start_server: StartServer, tmp_path: Path, record: Record) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", CHATBOT_CONNECTIONS="100", **UNLIMITED)
    base = fill_threads(server, 100)
    talker = Talker(server.url, silence=30)
    with talking([talker]), ThreadPoolExecutor(100) as pool:
        for answer in pool.map(lambda seed: throw(server, garbage(seed)), range(1000)):
            assert not any(word.encode() in answer for word in INSIDES), answer
    assert talker.losses == 0
    assert_threads_back_at(server, base + 2)
    record(connections=1000, messages_meanwhile=len(talker.acknowledged))
    assert server.terminate() == 0


# Sizes


def event_of(size: int) -> str:
    """An event whose payload has so many bytes."""
    empty = json.dumps({"title": ""}, separators=(",", ":"))
    return '421["conversation.create",' + empty.replace('""', f'"{"x" * (size - len(empty))}"') + "]"


def outcome_of(url: str, size: int) -> str:
    with WireClient(url) as client:
        try:
            client.send_frame(event_of(size))
            return str(client.answer_to(1)["error"]["code"])
        except LOST:
            return "ended"


def deflated(size: int) -> bytes:
    """A websocket's frame of a few bytes that are `size` when they are inflated."""
    squeeze = zlib.compressobj(wbits=-15)
    body = (squeeze.compress(b"x" * size) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return b"\xc1\xff" + len(body).to_bytes(8) + bytes(4) + body


KB, MB = 2**10, 2**20
SIZES = {64 * KB - 1: "invalid", 64 * KB: "invalid", 64 * KB + 1: "too_large", MB: "ended", 50 * MB: "ended"}


def test_events_of_all_sizes(start_server: StartServer, tmp_path: Path, record: Record) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", **UNLIMITED)
    talker = Talker(server.url, silence=30)
    with talking([talker]):
        wait_until_all_go_on([talker])
        before = megabytes_of(server)
        assert {size: outcome_of(server.url, size) for size in SIZES} == SIZES
        assert throw(server, HANDSHAKE + deflated(50 * MB)).startswith(b"HTTP/1.1 101")
        for path, status in (("/v1/chat/completions", 413), ("/api/export", 405)):
            assert posted(server.url + path, b"x" * 50 * MB) in (status, None)
        wait_until_all_go_on([talker])
        record(MB=f"{before} -> {megabytes_of(server)}", most_MB=peak(server))
    assert talker.losses == 0
    assert peak(server) < before + 200


def posted(url: str, body: bytes) -> int | None:
    """The status, or None where the server ended it first."""
    try:
        headers = {"Content-Type": "application/json"}
        return requests.post(url, data=body, headers=headers, timeout=60).status_code
    except requests.ConnectionError:
        return None


def peak(server: ServerProcess) -> int:
    return sum(status_of(pid, "VmHWM") for pid in server.workers) // 1024


# Clients that never read


def test_20_clients_that_never_read(start_server: StartServer, tmp_path: Path, record: Record) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", 0.001, CHATBOT_CONNECTIONS="50", **UNLIMITED)
    base = fill_threads(server, 50)
    talker = Talker(server.url, silence=30)
    with talking([talker]), ThreadPoolExecutor(20) as pool:
        asked = list(pool.map(lambda _: ask_until_let_go(server.url), range(20)))
    assert talker.losses == 0
    assert_threads_back_at(server, base + 2)
    record(clients=20, events_asked_before_let_go=max(asked), messages_meanwhile=len(talker.acknowledged))


def ask_until_let_go(url: str) -> int:
    """Ask for all of a conversation again and again and read no answer -> how often that was possible."""
    with WireClient(url) as client:
        conversation = client.create()
        for _ in range(5):
            client.say(conversation, "x" * 4000)
        for times in range(50_000):
            try:
                client.send_frame(f'421["sync",{{"conversation_id":"{conversation}"}}]')
                time.sleep(0.001)
            except (websocket.WebSocketException, OSError):
                return times
    raise AssertionError("A client that never reads was never let go.")
