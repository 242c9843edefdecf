"""Nobody gets at what is another's, and what people write is text and nothing else."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import websocket

from tests.clients import Refused, ServerProcess, WireClient
from tests.faults.talker import UNLIMITED
from web.protocol import FROM_CLIENT

Record = Callable[..., None]
StartServer = Callable[..., ServerProcess]

SQL = (
    "'; DROP TABLE turns; --", "' OR '1'='1", '" OR ""="', "'); DELETE FROM users; --", "1; SELECT pg_sleep(60)",
    "\\'; TRUNCATE events; --", "$$; DROP SCHEMA public CASCADE; $$", "' UNION SELECT token_hash FROM users --",
    "{{7*7}} ${7*7} %(text)s :text ? %s", "/* */ -- # ;", "Robert'); DROP TABLE conversations;--", "_%_",
    "\\x27 OR 1=1", "%' --",
)  # fmt: skip
HOSTILE_ORIGINS = (
    "http://evil.example", "https://evil.example", "null", "http://127.0.0.1.evil.example", "http://localhost:1",
    "file://", "http://evil.example:80@127.0.0.1", "http://[::1]", "chrome-extension://abc", "HTTP://EVIL.EXAMPLE",
)  # fmt: skip
IDS = ("conversation_id", "message_id", "reply_id", "client_msg_id", "parent_id")
# What an event carries beside ids, where it has to.
FIELDS: dict[str, Any] = {"text": "Mine now", "rating": 1, "title": "Stolen", "learn": True, "after_seq": 0}
OF_NOBODY = {"conversation.create", "conversation.list", "conversation.search", "user.delete"}  # they take no ids


@pytest.fixture
def server(start_server: StartServer, database: str) -> ServerProcess:
    return start_server(database, **UNLIMITED)


def ids_of(client: WireClient) -> dict[str, str]:
    """One of each kind of id there is: of the user, and of a conversation and what was said in it."""
    conversation, key = client.create(), str(uuid.uuid4())
    sent = client.send(conversation, "Mine", key)
    client.reply_to(sent)
    found = {"conversation_id": conversation, "client_msg_id": key, "user_id": client.ready["user_id"]}
    return found | {name: sent[name] for name in ("message_id", "reply_id")}


def payload_of(event: str, ids: dict[str, str]) -> dict[str, Any]:
    """What the event has to carry, with these ids."""
    needed = FROM_CLIENT[event][0].model_fields
    given = FIELDS | ids
    return {name: given[name] for name, field in needed.items() if field.is_required() or name == "after_seq"}


def attempts(theirs: dict[str, str], own: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each event with each of another's ids in each place for an id, all else being one's own."""
    for event in sorted(FROM_CLIENT.keys() - OF_NOBODY):
        places = [name for name in IDS if name in FROM_CLIENT[event][0].model_fields and name != "client_msg_id"]
        for place in places:
            for id in theirs.values():
                fresh = own | {"client_msg_id": str(uuid.uuid4())}
                yield event, payload_of(event, fresh) | {place: id}
        yield event, payload_of(event, theirs)


def test_every_event_with_another_users_id_of_every_kind_is_not_found(server: ServerProcess, record: Record) -> None:
    with WireClient(server.url) as client, WireClient(server.url) as stranger:
        theirs, own, tried = ids_of(client), ids_of(stranger), 0
        before = client.call("sync", conversation_id=theirs["conversation_id"])
        for event, payload in attempts(theirs, own):
            answer = stranger.call(event, payload)
            assert answer.get("error", {}).get("code") == "not_found", (event, payload, answer)
            tried += 1
        stranger.read_for(0.5)
        assert not any(id in json.dumps(stranger.received) for id in theirs.values())
        assert client.call("sync", conversation_id=theirs["conversation_id"]) == before
        record(events=len(FROM_CLIENT) - len(OF_NOBODY), attempts=tried)


def test_nothing_that_takes_no_id_tells_of_another_user(server: ServerProcess) -> None:
    with WireClient(server.url) as client, WireClient(server.url) as stranger:
        ids_of(client)
        assert stranger.call("conversation.list")["conversations"] == []
        assert stranger.call("conversation.search", text="Mine")["found"] == []
        assert stranger.call("user.delete")["ok"]
        assert client.say(client.create(), "Still here") == "You said: Still here"


def routes_of(server: ServerProcess) -> list[tuple[str, str]]:
    paths = requests.get(f"{server.url}/api/openapi.json", timeout=30).json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def test_every_route_with_another_users_ids_tells_nothing(server: ServerProcess, record: Record) -> None:
    with WireClient(server.url) as client, WireClient(server.url) as stranger:
        theirs, tried = ids_of(client), 0
        headers = {"Authorization": f"Bearer {stranger.token}"}
        for method, path in routes_of(server):
            for id in theirs.values():
                filled = path.replace("{conversation_id}", id)
                answer = requests.request(method, server.url + filled, headers=headers, params={"user": id}, timeout=30)
                assert answer.status_code == 404 or "{" not in path, (method, filled, answer.text)
                assert not any(one in answer.text for one in theirs.values() if one not in filled)
                assert "Mine" not in answer.text
                tried += 1
        record(routes=len(routes_of(server)), attempts=tried)


def test_hostile_origins_are_refused(server: ServerProcess, record: Record) -> None:
    address = server.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    with WireClient(server.url) as client:
        for origin in HOSTILE_ORIGINS:
            with pytest.raises(websocket.WebSocketBadStatusException, match="400"):
                websocket.create_connection(address, origin=origin)
            headers = {"Authorization": f"Bearer {client.token}", "Origin": origin}
            for path in ("/api/conversations", "/api/export"):
                answer = requests.get(server.url + path, headers=headers, timeout=30)
                assert answer.status_code == 403
                assert "Access-Control-Allow-Origin" not in answer.headers
    record(origins=len(HOSTILE_ORIGINS))


def test_sql_in_every_field_is_stored_and_given_back_as_it_is(server: ServerProcess, record: Record) -> None:
    with WireClient(server.url) as bystander:
        kept = ids_of(bystander)
        for text in SQL:
            with WireClient(server.url) as client:
                write_in_every_field(client, text)
                read_everywhere(client, server.url, text)
            with pytest.raises(Refused):
                WireClient(server.url, token=text, key=text)
        [listed] = bystander.call("conversation.list")["conversations"]
        assert listed["conversation_id"] == kept["conversation_id"]
    record(strings=len(SQL))


def write_in_every_field(client: WireClient, text: str) -> None:
    conversation = client.call("conversation.create", title=text)["conversation_id"]
    sent = client.send(conversation, text)
    assert client.reply_to(sent)["text"] == f"You said: {text}"
    place = {"conversation_id": conversation, "reply_id": sent["reply_id"]}
    assert client.call("feedback.set", place | {"rating": -1, "better_text": text})["ok"]
    edit = {"conversation_id": conversation, "message_id": sent["message_id"], "client_msg_id": str(uuid.uuid4())}
    client.reply_to(client.call("message.edit", edit | {"text": f"{text} again"}))
    assert client.call("conversation.rename", conversation_id=conversation, title=f"About {text}")["ok"]
    for field in place:
        assert client.call("reply.stop", place | {field: text})["error"]["code"] == "invalid"


def read_everywhere(client: WireClient, url: str, text: str) -> None:
    [listed] = client.call("conversation.list")["conversations"]
    assert listed["title"] == f"About {text}"
    place = {"conversation_id": listed["conversation_id"]}
    told = {event["type"]: event["data"] for event in client.call("sync", place)["events"]}
    assert told["message.created"]["text"] == f"{text} again"
    assert told["feedback.set"]["better_text"] == text
    [found] = client.call("conversation.search", text=text)["found"]
    assert found["conversation_id"] == listed["conversation_id"]
    headers = {"Authorization": f"Bearer {client.token}"}
    exported = json.loads(requests.get(f"{url}/api/export", headers=headers, timeout=30).text)
    assert exported["messages"][0]["content"] == f"{text} again"
