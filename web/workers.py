"""The workers of one service, each a process: what one of them says reaches the clients of all of them.

Between them it goes out in a thread of its own, so that no reply and no client here waits for another worker. It may be
lost on the way (a killed Redis swallows messages for seconds): nothing that has to be kept depends on it.
"""

import json
import os
import queue
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from engineio.exceptions import SocketIsClosedError
from flask_socketio import SocketIO
from socketio.manager import Manager
from socketio.pubsub_manager import PubSubManager

from data.errors import UserError

WORKERS = "workers"  # the room of the workers themselves; a user's room is a UUID
MOST_UNREAD = 500  # frames that wait for a client to read them; whoever has more is let go
MOST_UNSENT = 10_000  # messages that wait for other workers; further ones are lost
_SEND_SECONDS = 1  # to a worker, or to Redis, that does not take it
_CHANNEL = "hred-chatbot"

log = structlog.get_logger()


class Clients(Manager):
    """The clients of this worker. `orders` is what workers tell each other to do, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, Callable[..., None]] = {}

    def emit(self, event: str, data: Any, namespace: str, room: str | None = None, **how: Any) -> None:
        """To each client by itself: one that is just leaving must not stop the rest."""
        if room == WORKERS:
            if event in self.orders:
                self.orders[event](**data)
            return
        with suppress(KeyError):  # the last of them has left since
            for sid, line in self.get_participants(namespace, room):
                with suppress(KeyError, SocketIsClosedError):
                    super().emit(event, data, namespace, room=sid, **how)
                    self.drop_if_deaf(line)

    def flush(self, seconds: float) -> None:
        """Wait until all has left for the other workers, but no longer: there are none."""

    def unread(self, line: str | None) -> int:
        """How many frames wait for the client on the connection that Engine.IO calls `line`."""
        connection = self.server.eio.sockets.get(line)
        return connection.queue.qsize() if connection else 0

    def drop_if_deaf(self, line: str | None) -> None:
        """Hang up on a client that does not read: what is kept for it would grow without end."""
        connection = self.server.eio.sockets.get(line)
        if connection and connection.queue.qsize() > MOST_UNREAD:
            connection.close(wait=False, abort=True, reason=SocketIO.reason.TRANSPORT_ERROR)


class _Line(PubSubManager, Clients):
    """To the other workers and back; subclasses say by which way."""

    def __init__(self) -> None:
        super().__init__()
        self._unsent: queue.Queue[bytes] = queue.Queue(MOST_UNSENT)

    def initialize(self) -> None:
        super().initialize()
        self.server.start_background_task(self._send_all)

    def flush(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._unsent.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def _publish(self, data: dict[str, Any]) -> None:
        with suppress(queue.Full):
            self._unsent.put_nowait(json.dumps(data, ensure_ascii=False).encode())

    def _send_all(self) -> None:
        while True:
            message = self._unsent.get()
            try:
                self._send(message)
            except Exception as error:
                log.warning("other workers not reached", error=str(error))
            finally:
                self._unsent.task_done()

    def _send(self, message: bytes) -> None:
        raise NotImplementedError


class Siblings(_Line):
    """The other workers of the same `chatbot serve`: each has a socket in a folder that only they can reach."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._place = folder / str(os.getpid())
        self._place.unlink(missing_ok=True)  # of a dead worker that had the same number
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))
        self._socket.bind(str(self._place))

    def _send(self, message: bytes) -> None:
        for sibling in self._folder.iterdir():
            if sibling != self._place:
                self._send_to(sibling, message)

    def _send_to(self, sibling: Path, message: bytes) -> None:
        try:
            self._socket.sendto(message, str(sibling))
        except ConnectionRefusedError:
            sibling.unlink(missing_ok=True)  # it has died
        except OSError as error:
            log.warning("worker not reached", worker=sibling.name, error=str(error))

    def _listen(self) -> Iterator[bytes]:
        while True:
            yield self._socket.recv(1 << 20)


class Redis(_Line):
    """The workers on any machine that use the same Redis or Valkey.

    python-socketio's own manager shares one connection between its threads and waits up to a minute before it looks
    whether a Redis that was away is back.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._sending = _redis(url, socket_timeout=_SEND_SECONDS)
        # A listener waits for as long as nobody says anything; only the system can tell it that the other end is gone.
        probes = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
        alive = {} if url.startswith("unix") else {"socket_keepalive": True, "socket_keepalive_options": probes}
        self._listening = _redis(url, socket_timeout=None, **alive)

    def _send(self, message: bytes) -> None:
        self._sending.publish(_CHANNEL, message)

    def _listen(self) -> Iterator[bytes]:
        while True:
            try:
                with self._listening.pubsub(ignore_subscribe_messages=True) as subscription:
                    subscription.subscribe(_CHANNEL)
                    for message in subscription.listen():
                        yield message["data"]
            except Exception as error:
                log.warning("other workers not heard", error=str(error))
            time.sleep(0.5)


def check_redis(url: str) -> None:
    """Raise UserError, a sentence, unless there is a Redis or Valkey at `url`."""
    try:
        _redis(url, socket_timeout=5).ping()
    except ModuleNotFoundError as error:
        raise UserError("CHATBOT_REDIS needs the package redis: pip install redis.") from error
    except Exception as error:
        raise UserError(f"The Redis of CHATBOT_REDIS cannot be used: {error}.") from error


def _redis(url: str, **options: Any) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(url, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0), **options)
