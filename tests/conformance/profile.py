"""The whole server, with the echo engine, as the public Socket.IO suite wants to find one: at port 3000.

It differs from `chatbot serve` in what the suite takes for granted and protocol v1 has otherwise, and in nothing else:

- HTTP long-polling beside websockets, pings every 300 ms that are answered within 200, payloads of 1,000,000 bytes;
- a session that polls has no TCP connection of its own, so the app is kept from cutting that with the session;
- binary packets as Socket.IO has them, which the app's own kind of packet refuses;
- whoever connects need not say which protocol they speak and is told `auth` instead of `ready`, at "/" and "/custom";
  both answer `message` and `message-with-ack`.
"""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import click
import socketio.packet
from flask import Flask
from flask_socketio import SocketIO, emit

import web.app
from chatbot.home import home
from tests.echo_engine import EchoEngine
from web.config import Settings
from web.server import run


def _as_expected(app: Flask) -> Flask:
    app.wsgi_app = _without_polled_socket(app.wsgi_app)  # type: ignore[assignment, method-assign]
    _expect_suite(app.extensions["socketio"])
    return app


def _without_polled_socket(serve: WSGIApplication) -> WSGIApplication:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "transport=websocket" not in environ["QUERY_STRING"]:
            environ.pop("gunicorn.socket", None)
        return serve(environ, start_response)

    return answer


def _expect_suite(server: SocketIO) -> None:
    lines = server.server.eio
    lines.transports = ["polling", "websocket"]
    lines.ping_interval, lines.ping_timeout, lines.max_http_buffer_size = 0.3, 0.2, 1_000_000
    server.server.packet_class = socketio.packet.Packet
    server.server.always_connect = True  # so that the client knows that it is connected before it hears `auth`
    for namespace in ("/", "/custom"):
        server.on_event("connect", _connect, namespace)
        server.on_event("message", _message, namespace)
        server.on_event("message-with-ack", _message_with_ack, namespace)


def _connect(auth: Any = None) -> None:
    emit("auth", auth or {})


def _message(*arguments: Any) -> None:
    emit("message-back", arguments)


def _message_with_ack(*arguments: Any) -> tuple[Any, ...]:
    return arguments


@click.command()
def main() -> None:
    create_app = web.app.create_app
    web.app.create_app = lambda *how: _as_expected(create_app(*how))
    run(Settings(port=3000, database=f"sqlite:///{home()}/chatbot.db"), EchoEngine)


if __name__ == "__main__":
    main()
