"""The application factory: wiring only."""

import logging
import sys
from contextlib import suppress
from functools import partial
from typing import Any, cast

import structlog
from engineio.exceptions import SocketIsClosedError
from flask import Flask
from flask_socketio import SocketIO

from chatbot.history import open_history
from web.config import Settings
from web.conversations import ConversationService, Engine
from web.events import Events
from web.operator import Operator
from web.protocol import TextPacket
from web.routes import add_routes


def configure_logging() -> None:
    """One JSON object a line, on stderr. Nothing in them is a message's text: no local variables, no SQL parameters."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Engine.IO prints a traceback for every frame it cannot read, so anybody could fill the log.
    logging.getLogger("engineio.server").addFilter(lambda record: record.msg != "message handler error")


def create_app(settings: Settings, engine: Engine) -> Flask:
    """The running service: tables up to date, the engine started, unanswered messages on their way.

    `app.extensions` holds 'socketio' and 'conversations' (call its `close` at the end).
    Raises DatabaseError, AdminTokenError, OSError.
    """
    configure_logging()
    app = Flask(__name__)
    socketio = SocketIO(
        app,
        async_mode="threading",
        async_handlers=False,  # a client's events are handled one after another, in its own connection's thread
        transports=["websocket"],  # so that any worker can take any connection
        cors_allowed_origins=list(settings.origins) if settings.origins else None,
        max_http_buffer_size=4 * settings.event_bytes,  # beyond it the connection is closed, below it an error is sent
        manage_session=False,
        serializer=TextPacket,
    )
    service = ConversationService(open_history(settings.database), engine, partial(_emit, socketio), settings.keep_days)
    app.extensions["conversations"] = service
    Events(socketio, service, settings).register()
    add_routes(app, service, settings)
    Operator(service, settings).register(app)
    service.start()
    return app


def _emit(socketio: SocketIO, room: str | None, event: str, payload: dict[str, Any]) -> None:
    """To each connection in the room (None: to all) by itself: one that is just leaving must not stop the rest."""
    with suppress(KeyError):  # the last of them has left since
        for sid, _ in socketio.server.manager.get_participants("/", room):
            with suppress(KeyError, SocketIsClosedError):
                socketio.emit(event, payload, to=sid)


def drain(app: Flask, seconds: float) -> None:
    """End well: tell every client, let running replies end within `seconds`, write them, close the connections."""
    socketio = cast(SocketIO, app.extensions["socketio"])
    service = cast(ConversationService, app.extensions["conversations"])
    service.draining = True
    _emit(socketio, None, "notice", {"type": "draining"})
    service.close(seconds)
    for connection in list(socketio.server.eio.sockets.values()):
        connection.close(wait=False, abort=True)  # as if the line had dropped: a client that was sent away stays away
    service.history.engine.dispose()
