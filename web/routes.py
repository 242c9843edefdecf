"""The REST beside the websocket: the page, health, and a user's own conversations."""

import gzip
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import Any
from uuid import UUID

import structlog
from flask import Blueprint, Flask, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from gunicorn.http.errors import ParseException
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import BadRequest, HTTPException

from chatbot.history import NotFoundError, dialogues
from web.access import Access
from web.completions import Completions, fault
from web.config import Settings
from web.conversations import ConversationService
from web.documents import document_routes
from web.events import listed
from web.protocol import INTERNAL, STATUS, ConversationsAsked, ProtocolError, refusal_of, retry_after
from web.rates import Rates

log = structlog.get_logger()

HEADERS = {
    # connect-src 'self' covers the websocket; nothing inline, nothing from elsewhere, no framing.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def add_routes(app: Flask, service: ConversationService, settings: Settings, access: Access, rates: Rates) -> None:
    app.jinja_env.globals["name"] = settings.name
    app.register_blueprint(_routes(service, access))
    app.register_blueprint(document_routes())
    Completions(service, settings, access, rates).register(app)
    app.after_request(_pack)
    app.after_request(access.allow_origin)
    app.after_request(_secure)
    app.register_error_handler(ProtocolError, _refuse)
    app.register_error_handler(SQLAlchemyError, _apologise)
    app.register_error_handler(HTTPException, _explain)
    for unreadable in (ParseException, OverflowError):  # of gunicorn, a chunk; of werkzeug, the year of a date
        app.register_error_handler(unreadable, lambda error: _explain(BadRequest("This request cannot be read.")))


def _routes(service: ConversationService, access: Access) -> Blueprint:
    routes = Blueprint("routes", __name__)

    @routes.get("/")
    def page() -> str:
        return render_template("index.html")

    @routes.get("/healthz")
    def health() -> ResponseReturnValue:
        try:
            service.history.check()
        except SQLAlchemyError:
            return {"status": "database unavailable"}, 503
        if service.draining:
            return {"status": "draining"}, 503
        if not service.engine.is_running:
            return {"status": "engine stopped"}, 503
        return {"status": "ok", "checkpoint": service.engine.checkpoint.id}

    @routes.get("/readyz")
    def readiness() -> ResponseReturnValue:
        return {"status": "ready"} if service.is_ready else ({"status": "not ready"}, 503)

    @routes.get("/api/conversations")
    def conversations() -> ResponseReturnValue:
        return listed(service.history, access.readers(), _asked_page())

    @routes.get("/api/conversations/<uuid:conversation_id>/export")
    def export(conversation_id: UUID) -> ResponseReturnValue:
        for user_id in access.readers():
            with suppress(NotFoundError):
                return _download([service.history.dialogue(str(conversation_id), user_id)], str(conversation_id))
        raise ProtocolError("not_found", "There is no such conversation.")

    @routes.get("/api/export")
    def export_all() -> ResponseReturnValue:
        users = access.readers()
        return _download(chain.from_iterable(dialogues(service.history, user) for user in users), "conversations")

    return routes


def _asked_page() -> ConversationsAsked:
    try:
        return ConversationsAsked(after=request.args.get("after"))
    except ValidationError as error:
        raise refusal_of(error) from None


def _download(dialogues: Iterable[dict[str, Any]], name: str) -> Response:
    """Chat JSONL, a line a dialogue, sent on as it is read."""
    lines = (json.dumps(dialogue, ensure_ascii=False) + "\n" for dialogue in dialogues)
    headers = {"Content-Disposition": f'attachment; filename="{name}.jsonl"', "Cache-Control": "no-store"}
    return Response(lines, mimetype="application/jsonl", headers=headers)


def _refuse(error: ProtocolError) -> ResponseReturnValue:
    return jsonify(ok=False, error=error.as_dict()), STATUS[error.code], retry_after(error)


def _apologise(error: SQLAlchemyError) -> ResponseReturnValue:
    log.error("request failed", exc_info=error)
    return _refuse(INTERNAL)


def _explain(error: HTTPException) -> ResponseReturnValue:
    """What there is no route for, in the shape that its neighbours have."""
    status = error.code or 500
    if status < 400:
        return error
    code = next((code for code in ("not_found", "too_large", "internal") if STATUS[code] == status), "invalid")
    refusal = ProtocolError(code, str(error.description or error.name))
    body = fault(refusal).model_dump() if request.path.startswith("/v1/") else {"ok": False, "error": refusal.as_dict()}
    return jsonify(body), status, [header for header in error.get_headers() if header[0] == "Allow"]


def _pack(response: Response) -> Response:
    """Send the page and what belongs to it in a third of its bytes to whoever unpacks it."""
    if request.endpoint not in ("routes.page", "static") or response.status_code != 200 or request.method != "GET":
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        response.direct_passthrough = False
        response.set_data(_packed(response.get_data()))
        response.content_encoding = "gzip"
        if etag := response.get_etag()[0]:
            response.set_etag(etag, weak=True)  # the same thing in other bytes
    return response


@lru_cache(100)  # more than there are files
def _packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _secure(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
