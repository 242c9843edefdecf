"""What a server's processes keep, and whether they give it back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import requests

from tests.clients import ServerProcess, WireClient


def status_of(pid: int, field: str) -> int:
    """A number of /proc/PID/status: Threads, or VmRSS in kB."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1])


def threads_of(server: ServerProcess) -> int:
    return sum(status_of(pid, "Threads") for pid in [*server.workers, *server.engines])


def megabytes_of(server: ServerProcess) -> int:
    return sum(status_of(pid, "VmRSS") for pid in [*server.workers, *server.engines]) // 1024


def fill_threads(server: ServerProcess, connections: int) -> int:
    """Let the pool of threads, which never shrinks, grow to its size -> the threads there are from now on."""
    clients = [WireClient(server.url) for _ in range(connections)]
    for client in clients:
        client.close()
    time.sleep(3)
    return threads_of(server)


def assert_threads_back_at(server: ServerProcess, base: int, seconds: float = 90) -> None:
    """Threads that serve nobody any more have ended, or serve others."""
    deadline = time.monotonic() + seconds
    while threads_of(server) > base:
        assert time.monotonic() < deadline, f"{threads_of(server)} threads, and {base} before"
        time.sleep(0.5)


@contextmanager
def asking_after_its_health(url: str) -> Iterator[list[float]]:
    """Ask /healthz five times a second meanwhile -> the seconds that each answer took."""
    took: list[float] = []
    enough = Event()

    def ask() -> None:
        while not enough.wait(0.2):
            began = time.monotonic()
            assert requests.get(f"{url}/healthz", timeout=60).json()["status"] == "ok"
            took.append(time.monotonic() - began)

    asking = Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        enough.set()
        asking.join()
