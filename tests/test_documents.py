"""The documents of the interfaces: they are valid, complete, and what the server does is what they say."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft7Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.clients import WireClient
from tests.echo_engine import EchoEngine
from web.app import create_app, drain
from web.config import Settings
from web.documents import RECEIVED, ROUTES, SENT, asyncapi, openapi
from web.protocol import FROM_CLIENT, FROM_SERVER, Refusal

ASYNCAPI = Path(__file__).parent / "asyncapi" / "3.0.0.json"  # as published by the AsyncAPI initiative, Apache-2.0


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    database = f"sqlite:///{tmp_path_factory.mktemp('documents')}/chat.db"
    app = create_app(Settings(database=database, messages_per_minute=100_000), EchoEngine())
    yield app
    drain(app, 1)


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return app.test_client()


def test_the_openapi_document_is_valid(browser: FlaskClient) -> None:
    document = browser.get("/api/openapi.json").json
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_the_asyncapi_document_is_valid(browser: FlaskClient) -> None:
    document = browser.get("/api/asyncapi.json").json
    Draft7Validator(json.loads(ASYNCAPI.read_text())).validate(document)
    assert document["servers"]["here"] == {"host": "localhost", "pathname": "/socket.io/", "protocol": "ws"}


@pytest.mark.parametrize("document", [openapi(), asyncapi("localhost", is_secure=False)], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(document: dict[str, object]) -> None:
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        found: object = document
        for part in reference.split("/"):
            assert isinstance(found, dict)
            found = found[part]


def test_every_route_is_documented(app: Flask) -> None:
    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS") and not rule.rule.startswith("/static")
    }
    assert {(route.method, route.path) for route in ROUTES} == served


def test_every_event_is_documented(app: Flask) -> None:
    handlers = app.extensions["socketio"].server.handlers["/"]
    documented = asyncapi("localhost", is_secure=False)["operations"]
    received = {name for name, operation in documented.items() if operation["action"] == "receive"}
    assert received == {"connect", *RECEIVED} == set(handlers) - {"disconnect", "*"}
    assert documented.keys() - received == SENT.keys()


def test_no_name_is_given_to_two_shapes() -> None:
    over_http, over_sockets = (
        document["components"]["schemas"] for document in (openapi(), asyncapi("localhost", is_secure=False))
    )
    for name in over_http.keys() & over_sockets.keys():
        assert over_http[name] == over_sockets[name]


def test_the_page_names_every_route_and_event_and_runs_nothing(browser: FlaskClient) -> None:
    page = browser.get("/api/docs").text
    for name in (*RECEIVED, *SENT, *(f"{route.method.upper()} {route.path}" for route in ROUTES)):
        assert f"<code>{name}</code>" in page
    assert "<script" not in page
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(re.findall(r'id="(\w+)"', page))


def test_what_there_is_no_route_for_is_said_in_the_shape_of_its_neighbours(browser: FlaskClient) -> None:
    assert browser.get("/api/nothing").json["error"]["code"] == "not_found"
    assert browser.get("/v1/nothing").json["error"]["type"] == "invalid_request_error"
    refused = browser.get("/v1/chat/completions")
    assert (refused.status_code, set(refused.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})


def test_what_the_server_answers_to_anything_is_what_the_document_says(app: Flask) -> None:
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    for operation in schema.get_all_operations():

        @settings(
            max_examples=10,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.ok().as_strategy())
        def answers_as_documented(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=checks)

        answers_as_documented()


class CheckedClient(WireClient):
    """Every acknowledgement is what is promised for its event."""

    def call(self, event: str, payload: Any = None, **fields: Any) -> dict[str, Any]:
        answer = super().call(event, payload, **fields)
        (FROM_CLIENT[event][1] if answer["ok"] else Refusal).model_validate(answer)
        return answer


def test_what_the_server_sends_is_what_the_document_says(tmp_path: Path, start_server: Any) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db", delay=0.5)
    with CheckedClient(server.url) as client:
        conversation = client.create()
        sent = client.send(conversation, "Hello")
        client.call("sync", conversation_id=conversation)  # in mid-reply
        assert client.send(conversation, "too early")["error"]["code"] == "busy"
        client.reply_to(sent)
        mine = {"conversation_id": conversation, "reply_id": sent["reply_id"]}
        client.call("feedback.set", **mine, rating=-1, better_text="Hi!")
        client.completed(client.call("reply.regenerate", **mine)["reply_id"])
        edited = {"message_id": sent["message_id"], "client_msg_id": str(uuid.uuid4()), "text": "Bye"}
        client.reply_to(client.call("message.edit", conversation_id=conversation, **edited))
        client.call("reply.stop", **mine)
        client.call("reply.choose", **mine)
        assert client.call("conversation.search", text="hello")["found"]
        client.call("conversation.rename", conversation_id=conversation, title="Greetings")
        client.call("conversation.set_learning", conversation_id=conversation, learn=True)
        client.call("conversation.list")
        assert client.call("sync", conversation_id=conversation)["events"]
        client.call("conversation.delete", conversation_id=conversation)
        client.call("user.delete")
        client.wait_for("notice", lambda notice: notice["type"] == "user.deleted")
    for name, payload in client.received:
        FROM_SERVER[name].model_validate(payload)
    assert {name for name, _ in client.received} == FROM_SERVER.keys()
