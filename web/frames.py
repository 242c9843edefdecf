"""Websockets that limit the size of a message, and the messages that wait to be handled.

simple-websocket joins the fragments of a message without a limit, and reads further messages while the first one is
handled. One client could fill the memory.
"""

import threading
from typing import Any

import simple_websocket
from engineio.async_drivers.threading import SimpleWebSocketWSGI
from wsproto.utilities import RemoteProtocolError

_READ_BYTES = 1024  # at a time: compressed well, they are a thousand times as many
_MOST_WAITING = 64  # messages


class HandshakeError(Exception):
    """A request for a websocket that is not one."""


class BoundedWebsocket(simple_websocket.Server):
    """Reads no further while `max_message_size` characters, or 64 messages, wait to be handled."""

    connected: bool

    def __init__(self, environ: dict[str, Any], max_message_size: int) -> None:
        self._taken = threading.Event()
        super().__init__(environ, receive_bytes=_READ_BYTES, max_message_size=max_message_size)

    def handshake(self) -> None:
        try:
            super().handshake()
        except (RemoteProtocolError, ValueError) as error:
            raise HandshakeError(str(error)) from error

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        message: str | bytes | None = super().receive(timeout)
        self._taken.set()
        return message

    def _handle_events(self) -> bool:
        is_open: bool = super()._handle_events()
        while is_open and self.connected and self._is_full():
            self._taken.wait(1)
            self._taken.clear()
        if not is_open:  # set before the event, because `receive` looks at it once
            self.connected = False
            self.event.set()
        return is_open

    def _is_full(self) -> bool:
        waiting = self.input_buffer.copy()
        return len(waiting) > _MOST_WAITING or sum(map(len, waiting)) > self.max_message_size


class BoundedWebsockets(SimpleWebSocketWSGI):
    """Opens the websockets of Engine.IO."""

    def __init__(self, handler: Any, server: Any) -> None:
        super().__init__(handler, server, max_message_size=server.max_http_buffer_size)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.ws = BoundedWebsocket(environ, **self.server_args)
        self.app(self)
        raise StopIteration  # to gunicorn: the connection was a websocket's and has ended
