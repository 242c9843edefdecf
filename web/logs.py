"""JSON logs, and the id by which what belongs to one request is found in them.

Nothing in them is a message's text: no local variables, no SQL parameters. What a client may repeat without end, be it
right or wrong, is counted (web.metrics) and not logged: anybody could fill the disk.
"""

import logging
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from flask import Flask, Response, request
from simple_websocket import ConnectionClosed
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, get_contextvars
from structlog.typing import Processor

HEADER = "X-Request-Id"
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}")  # what cannot be mistaken for anything else in a log


def configure_logging() -> None:
    """One JSON object a line, on stderr; what libraries log as well. A terminal is for a person: there only what goes
    wrong is told."""
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    last = structlog.processors.JSONRenderer()
    least = structlog.make_filtering_bound_logger(logging.WARNING if sys.stderr.isatty() else logging.INFO)
    structlog.configure([*before, last], wrapper_class=least, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    handler = logging.StreamHandler(sys.stderr)
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[meta, last], foreign_pre_chain=before))
    logging.basicConfig(handlers=[handler])
    for name in ("engineio.server", "socketio.server"):
        logging.getLogger(name).setLevel(logging.ERROR)  # or each brings a handler of its own, which knows no JSON
    logging.getLogger("gunicorn.error").handlers.clear()
    logging.getLogger("gunicorn.error").propagate = True
    # What cannot be read is refused and told nobody else: by repeating it, anybody could fill the log.
    logging.getLogger("gunicorn.error").addFilter(lambda record: not record.msg.startswith("Invalid request from"))
    # Engine.IO prints a traceback for every frame it cannot read, so anybody could fill the log.
    logging.getLogger("engineio.server").addFilter(lambda record: record.msg != "message handler error")
    threading.excepthook = _tell_of_thread


def _tell_of_thread(failure: threading.ExceptHookArgs) -> None:
    """In JSON, too. Engine.IO's threads fail so when they close a line that is closed: anybody could fill the log."""
    if failure.exc_value is not None and not issubclass(failure.exc_type, OSError | ConnectionClosed):
        thread = failure.thread.name if failure.thread else None
        structlog.get_logger().error("thread failed", thread=thread, exc_info=failure.exc_value)


def identify_requests(app: Flask) -> None:
    """Each request has an id, the caller's or a new one: in what is logged meanwhile, and in the answer's header."""

    def begin() -> None:
        clear_contextvars()
        bind_contextvars(request_id=_given() or uuid.uuid4().hex)

    def answer(response: Response) -> Response:
        response.headers[HEADER] = get_contextvars()["request_id"]
        return response

    app.before_request(begin)
    app.after_request(answer)


@contextmanager
def identified_event() -> Iterator[str]:
    """The same for an event, whose id is new; the id that its connection was opened with is beside it."""
    request_id, opened_by = uuid.uuid4().hex, _given()
    connection = {"connection": opened_by} if opened_by else {}
    with bound_contextvars(request_id=request_id, **connection):
        yield request_id


def _given() -> str | None:
    given = request.headers.get(HEADER, "")
    return given if _ID.fullmatch(given) else None
