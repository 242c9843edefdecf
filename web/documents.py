"""The interfaces as documents, made of the models that check them: OpenAPI 3.1 and AsyncAPI 3, and a page to read."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from web.completion_protocol import Chunk, Completion, CompletionRequest, FaultAnswer, Model, Models
from web.operator_protocol import (
    COOKIE,
    CSRF_HEADER,
    Better,
    Checkpoints,
    Dullness,
    Judge,
    Judged,
    Judging,
    OfReview,
    Overview,
    Promote,
    Retrain,
    Reviews,
    Runs,
    SignIn,
)
from web.protocol import (
    FROM_CLIENT,
    FROM_RASA,
    FROM_SERVER,
    STATUS,
    TO_RASA,
    Conversations,
    Done,
    Hello,
    Nothing,
    Ready,
    Refusal,
    Sent,
)

RECEIVED, SENT = FROM_CLIENT | FROM_RASA, FROM_SERVER | TO_RASA

Document = dict[str, Any]
Security = Literal["nobody", "token", "key", "operator", "session", "change"]

REF = "#/components/schemas/{model}"
SECURITY: dict[Security, list[dict[str, list[str]]]] = {
    "nobody": [],
    "token": [{"token": []}],
    "key": [{"key": []}, {}],
    "operator": [{"operator": []}],
    "session": [{"session": []}],
    "change": [{"session": [], "csrf": []}],
}


class Health(BaseModel):
    """`checkpoint` is what answers now; `status` is "ok" or what is wrong."""

    status: str
    checkpoint: str | None = None


class Anything(BaseModel, extra="allow"):
    """An object for this server's own page; what is in it may change."""


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP operation; `answer` and `fault` are models, or the media types of what has none."""

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | str
    security: Security = "token"
    body: type[BaseModel] | None = None
    stream: type[BaseModel] | None = None
    refused: tuple[str, ...] = ("unauthenticated", "forbidden")
    fault: type[BaseModel] | str = Refusal
    takes: str = "application/json"
    status: int = 200


def _told(name: str, summary: str, answer: type[Sent]) -> Route:
    return Route("get", f"/operator/api/{name}", summary, answer, "session", refused=("unauthenticated",))


def _decided(name: str, summary: str, body: type[BaseModel], *more: str) -> Route:
    refused = ("invalid", "unauthenticated", "forbidden", "too_large", "internal", *more)
    return Route("post", f"/operator/api/{name}", summary, Done, "change", body, refused=refused)


_ASKED = ("invalid", "unauthenticated", "forbidden", "not_found", "too_large", "rate_limited", "internal", "overloaded")
_HERE = ("unauthenticated", "forbidden", "not_found")

ROUTES = (
    Route(
        "post",
        "/v1/chat/completions",
        "A reply to the last of some messages, as OpenAI's clients ask for it, whole or as server-sent events",
        Completion,
        "key",
        CompletionRequest,
        stream=Chunk,
        refused=_ASKED,
        fault=FaultAnswer,
    ),
    Route("get", "/v1/models", "The models that can be asked", Models, "key", fault=FaultAnswer),
    Route("get", "/v1/models/{name}", "One of them", Model, "key", refused=_HERE, fault=FaultAnswer),
    Route("get", "/api/conversations", "One's conversations, newest first", Conversations),
    Route(
        "get",
        "/api/conversations/{conversation_id}/export",
        "A conversation as a line of chat JSONL",
        "application/jsonl",
        refused=_HERE,
    ),
    Route("get", "/api/export", "All of one's conversations as chat JSONL, a line each", "application/jsonl"),
    Route("get", "/healthz", "Whether the server is well", Health, "nobody", refused=()),
    Route("get", "/readyz", "Whether it takes messages", Health, "nobody", refused=()),
    Route(
        "get",
        "/metrics",
        "Its figures, for Prometheus",
        "text/plain",
        "operator",
        refused=("unauthenticated", "rate_limited"),
    ),
    Route("get", "/api/openapi.json", "This document", Anything, "nobody", refused=()),
    Route("get", "/api/asyncapi.json", "The Socket.IO protocol", Anything, "nobody", refused=()),
    Route("get", "/api/docs", "Both, to read", "text/html", "nobody", refused=()),
    Route("get", "/", "The chat", "text/html", "nobody", refused=()),
    Route("get", "/operator", "The operator's page, or where to sign in", "text/html", "nobody", refused=()),
    Route(
        "get",
        "/operator/judging",
        "The page for judging replies blind, or where to sign in",
        "text/html",
        "nobody",
        refused=(),
    ),
    Route(
        "post",
        "/operator/sign-in",
        "Sign in as the operator; the page then has what goes into X-CSRF-Token, in its meta csrf-token",
        "text/html",
        "nobody",
        SignIn,
        refused=("unauthenticated", "rate_limited"),
        fault="text/html",
        takes="application/x-www-form-urlencoded",
        status=303,
    ),
    _told("overview", "What there was on each of the last 30 days, and what was thought of it", Overview),
    _told("dullness", "How dull the replies of each checkpoint were", Dullness),
    _told("reviews", "Disliked replies to better", Reviews),
    _told("judging", "A reply to judge blind, shuffled among its candidates", Judging),
    _told("judged", "What was judged so far, by checkpoint", Judged),
    _told("runs", "Retrainings, and the one that is at work", Runs),
    _told("models", "The checkpoints, and which of them were live", Checkpoints),
    _decided("better", "Say what a disliked reply should have been", Better, "not_found"),
    _decided("leave-out", "Have a disliked reply not learned from", OfReview, "not_found"),
    _decided("judge", "Mark the replies of a turn as sensible and specific", Judge, "not_found"),
    _decided("retrain", "Retrain, or go on with what was stopped", Retrain, "busy"),
    _decided("stop", "Stop the retraining that this server started", Nothing, "not_found"),
    _decided("promote", "Make a checkpoint live", Promote, "not_found"),
    _decided("rollback", "Make the one live that was before", Nothing),
    _decided("sign-out", "End the operator's session", Nothing),
)


def openapi() -> Document:
    """OpenAPI 3.1 of all that is asked over HTTP."""
    paths: Document = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    models = [model for route in ROUTES for model in (route.answer, route.body, route.stream, route.fault)]
    return {
        "openapi": "3.1.0",
        "info": _info("The REST beside the websocket, the interface that OpenAI's clients know, the operator's page."),
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(*(model for model in models if isinstance(model, type)), Health),
            "securitySchemes": {
                "token": _bearer("A user's token, from `ready`, or an API key with the scope read."),
                "operator": _bearer("The operator's token, which the server keeps in its file admin-token."),
                "key": _bearer("An API key with the scope chat, or a user's token; anything, where no key was made."),
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER},
            },
        },
    }


def _bearer(description: str) -> Document:
    return {"type": "http", "scheme": "bearer", "description": description}


def _operation(route: Route) -> Document:
    name = "".join(part for part in f"{route.method}{route.path}".replace("/", "_") if part not in "{}.")
    operation: Document = {
        "operationId": name.rstrip("_"),
        "summary": route.summary,
        "security": SECURITY[route.security],
        "parameters": [_parameter(part[1:-1]) for part in route.path.split("/") if part.startswith("{")],
        "responses": {str(route.status): {"description": "As asked", "content": _answer(route)}} | _refusals(route),
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": {route.takes: {"schema": _ref(route.body)}}}
    return operation


def _parameter(name: str) -> Document:
    schema = {"type": "string"} | ({"format": "uuid"} if name.endswith("_id") else {"minLength": 1})
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _answer(route: Route) -> Document:
    return _content(route.answer) | (_content("text/event-stream") if route.stream else {})


def _content(kind: type[BaseModel] | str) -> Document:
    if isinstance(kind, str):
        return {kind: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": _ref(kind)}}


def _refusals(route: Route) -> Document:
    """By HTTP status, of which several codes may share one."""
    if route.answer is Health:
        return {"503": {"description": "It is not", "content": _content(route.answer)}}
    refused: dict[str, list[str]] = {}
    for code in route.refused:
        refused.setdefault(str(STATUS[code]), []).append(code)
    return {
        status: {"description": ", ".join(codes), "headers": _waiting(codes), "content": _content(route.fault)}
        for status, codes in refused.items()
    }


def _waiting(codes: list[str]) -> Document:
    """When to come again, where that may be told."""
    if not {"rate_limited", "overloaded"} & set(codes):
        return {}
    return {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}


def asyncapi(host: str, is_secure: bool) -> Document:
    """AsyncAPI 3 of the Socket.IO protocol: what this server receives, what it answers, and what it sends."""
    operations: Document = {"connect": _receive("connect", ["ready", "refused"])}
    messages = {"connect": _message(Hello, "The connect packet's `auth`"), "refused": _message(Refusal)}
    for name, (carried, answer) in RECEIVED.items():
        operations[name] = _receive(name, [f"{name}.ack", "refused"])
        messages |= {name: _message(carried), f"{name}.ack": _message(answer)}
    for name, sent in SENT.items():
        operations[name] = {"action": "send", "channel": {"$ref": "#/channels/chat"}, "messages": [_of_chat(name)]}
        messages[name] = _message(sent)
    models: list[type[BaseModel]] = [Hello, Refusal, *SENT.values()]
    for carried, answer in RECEIVED.values():
        models += [carried, answer]
    return {
        "asyncapi": "3.0.0",
        "info": _info("Socket.IO v5, default path and namespace, JSON, by websocket only. Each event is acknowledged."),
        "defaultContentType": "application/json",
        "servers": {"here": {"host": host, "pathname": "/socket.io/", "protocol": "wss" if is_secure else "ws"}},
        "channels": {
            "chat": {"address": "/", "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages}}
        },
        "operations": operations,
        "components": {"messages": messages, "schemas": _without_discriminators(_schemas(*models))},
    }


def _without_discriminators(schemas: Document) -> Document:
    """AsyncAPI's are of another kind than OpenAPI's; `oneOf` says the same without."""
    return {
        name: {key: value for key, value in schema.items() if key != "discriminator"}
        for name, schema in schemas.items()
    }


def _receive(name: str, answers: list[str]) -> Document:
    channel = {"$ref": "#/channels/chat"}
    reply = {"channel": channel, "messages": [_of_chat(answer) for answer in answers]}
    return {"action": "receive", "channel": channel, "messages": [_of_chat(name)], "reply": reply}


def _of_chat(message: str) -> Document:
    return {"$ref": f"#/channels/chat/messages/{message}"}


def _message(model: type[BaseModel], summary: str = "") -> Document:
    return {"payload": _ref(model)} | ({"summary": summary} if summary else {})


def _info(description: str) -> Document:
    return {"title": "hred-chatbot", "version": version("hred-chatbot"), "description": description}


def _ref(model: type[BaseModel]) -> Document:
    return {"$ref": REF.format(model=model.__name__)}


def _schemas(*models: type[BaseModel]) -> Document:
    wanted = dict.fromkeys(models)
    _, found = models_json_schema([(model, "validation") for model in wanted], ref_template=REF)
    schemas: Document = found["$defs"]
    return schemas


# The page


@dataclass(frozen=True, slots=True)
class Entry:
    """What the page shows of an operation: what it carries, and what comes back."""

    name: str
    summary: str
    carried: str | None = None
    answer: str | None = None


@cache
def _page() -> Document:
    def named(model: type[BaseModel] | str | None) -> str | None:
        return model.__name__ if isinstance(model, type) else model

    routes = [
        Entry(f"{route.method.upper()} {route.path}", route.summary, named(route.body), named(route.answer))
        for route in ROUTES
    ]
    carriers: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {"connect": (Hello, Ready), **RECEIVED}
    received = [
        Entry(name, carried.__doc__ or "", carried.__name__, answer.__name__)
        for name, (carried, answer) in carriers.items()
    ]
    sent = [Entry(name, model.__doc__ or "", model.__name__) for name, model in SENT.items()]
    schemas = {**openapi()["components"]["schemas"], **asyncapi("", False)["components"]["schemas"]}
    shapes = {name: _fields(schema) for name, schema in sorted(schemas.items()) if name != Nothing.__name__}
    return {"routes": routes, "received": received, "sent": sent, "shapes": shapes, "schemas": schemas}


def _fields(schema: Document) -> list[tuple[str, str, bool]]:
    """(name, type, whether it must be there) of each field; of a union its members, without names."""
    if "oneOf" in schema:
        return [("", _type(one), True) for one in schema["oneOf"]]
    required = schema.get("required", ())
    return [(name, _type(field), name in required) for name, field in schema.get("properties", {}).items()]


def _type(field: Document) -> str:
    """A field's type in a few words: `list of Place`, `"draining" or "user.deleted"`, `string (uuid)`."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field or "oneOf" in field:
        return " or ".join(map(_type, field.get("anyOf") or field["oneOf"]))
    if "const" in field or "enum" in field:
        return " or ".join(f'"{value}"' for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    kind = str(field.get("type", "anything"))
    return f"{kind} ({field['format']})" if "format" in field else kind


def document_routes() -> Blueprint:
    routes = Blueprint("documents", __name__, url_prefix="/api")

    @routes.get("/openapi.json")
    def openapi_document() -> ResponseReturnValue:
        return openapi()

    @routes.get("/asyncapi.json")
    def asyncapi_document() -> ResponseReturnValue:
        return asyncapi(request.host, request.is_secure)

    @routes.get("/docs")
    def docs() -> ResponseReturnValue:
        return render_template("docs.html", **_page())

    return routes
