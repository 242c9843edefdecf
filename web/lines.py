"""Engine.IO's connections, here called lines: each keeps a thread, so nobody may keep one for nothing.

Engine.IO itself lets a line be that never says who it is, and after closing one waits for the other side to do so too.
"""

import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from flask_socketio import SocketIO

from web.frames import BoundedWebsockets, HandshakeError

STRANGER_SECONDS = 10  # in which whoever has opened a line has to say who they are
SPARE_LINES = 16  # beyond those of users: strangers, and whoever is told that the server is full
_LINE = "chatbot.line"
_CLOSING_SECONDS = 1  # in which the other side may close a line, too

Reason = SocketIO.reason


class Lines:
    """The lines of one server. `known` gives those whose users are known."""

    def __init__(self, server: Any, most: int, known: Callable[[], Collection[str | None]]) -> None:
        """Beyond `most` and a few to spare, the stranger who has been here longest makes room for the next."""
        self._server, self._most, self._known = server, most + SPARE_LINES, known
        self._making_room = threading.Lock()
        self._handle, server.eio.handle_request = server.eio.handle_request, self._handle_request
        server.eio._async = {**server.eio._async, "websocket": BoundedWebsockets}
        server.eio.on("connect", self._opened)
        server.eio.on("disconnect", self._closed)

    def watch(self, ended: threading.Event) -> None:
        """Hang up on whoever stays a stranger for too long, until `ended`."""
        since: dict[str, float] = {}
        while not ended.wait(1):
            now = time.monotonic()
            since = {line: since.get(line, now) for line in self._strangers()}
            for line, came in since.items():
                if now - came > STRANGER_SECONDS:
                    self.hang_up(line)

    def hang_up(self, line: str | None, reason: str = Reason.SERVER_DISCONNECT) -> None:
        connection = self._server.eio.sockets.get(line)
        if connection:
            connection.close(wait=False, abort=True, reason=reason)

    def _open(self) -> list[str]:
        """The oldest first."""
        return [line for line, connection in self._server.eio.sockets.copy().items() if not connection.closed]

    def _strangers(self) -> list[str]:
        known = self._known()
        return [line for line in self._open() if line not in known]

    def _handle_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Handle a request as Engine.IO does, but close the line after a frame that is no packet, and answer 400, not
        500, to a request that cannot be read."""
        try:
            return self._handle(environ, start_response)
        except HandshakeError:
            self.hang_up(environ[_LINE], Reason.TRANSPORT_CLOSE)  # the answer goes out first
        except (ValueError, KeyError, IndexError, TypeError):
            if _LINE in environ:
                self.hang_up(environ[_LINE], Reason.TRANSPORT_ERROR)
                raise StopIteration from None  # to gunicorn: the connection was a websocket's and has ended
        start_response("400 Bad Request", [("Content-Type", "text/plain"), ("Sec-WebSocket-Version", "13")])
        return [b"This is no request for a websocket of version 13."]

    def _opened(self, line: str, environ: dict[str, Any]) -> None:
        environ[_LINE] = line
        self._server._handle_eio_connect(line, environ)
        with self._making_room:
            too_many = len(self._open()) - self._most
            if too_many > 0:
                for stranger in self._strangers()[:too_many]:
                    self.hang_up(stranger, Reason.TRANSPORT_ERROR)  # at once: the next one waits for the thread

    def _closed(self, line: str, reason: str) -> None:
        connection = self._server.environ.get(line, {}).get("gunicorn.socket")
        self._server._handle_eio_disconnect(line, reason)
        if connection is None or reason == Reason.TRANSPORT_CLOSE:  # closed on both sides
            return
        if reason in (Reason.PING_TIMEOUT, Reason.TRANSPORT_ERROR):
            _cut(connection)
        else:
            self._server.start_background_task(_cut, connection, _CLOSING_SECONDS)


def _cut(connection: socket.socket, after_seconds: float = 0) -> None:
    """End a connection: whoever reads no more would hold up the thread that writes to it for ever."""
    time.sleep(after_seconds)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
