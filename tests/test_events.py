"""Protocol v1 over websockets, with the echo engine answering."""

import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import socketio
import websocket
from engineio.exceptions import SocketIsClosedError
from engineio.socket import Socket
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import Session

from chatbot.forgetting import hash_of
from chatbot.history import Feedback, FinishedReply, open_history
from tests.clients import Refused, ServerProcess, WireClient, echo_server
from tests.echo_engine import EchoEngine
from tests.test_history import everything_in, prepared_from
from web.app import create_app, drain
from web.config import Settings
from web.events import _as_sent
from web.workers import MOST_UNREAD

StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    path = tmp_path_factory.mktemp("events") / "chatbot.db"
    server = echo_server(f"sqlite:///{path}", delay=0.02)
    yield server
    server.close()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[WireClient]:
    with WireClient(server.url) as client:
        yield client


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine()


@pytest.fixture
def app(tmp_path: Path, engine: EchoEngine) -> Iterator[Flask]:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chatbot.db"), engine)
    yield app
    drain(app, 1)


def code(answer: dict[str, Any]) -> str:
    assert answer["ok"] is False
    assert answer["error"]["message"]
    return str(answer["error"]["code"])


def new_key() -> str:
    return str(uuid.uuid4())


# Connecting


def test_a_new_visitor_is_given_an_identity_and_keeps_it(server: ServerProcess, client: WireClient) -> None:
    assert client.ready["protocol"] == 1
    assert client.ready["limits"] == {
        "message_characters": 4000,
        "event_bytes": 65536,
        "messages_per_minute": 100,
        "connections_per_user": 10,
    }
    assert client.ready["model"] == {"checkpoint": "echo"}
    assert client.ready["learn"] is False
    with WireClient(server.url, token=client.token, protocol=1) as again:
        assert again.ready["user_id"] == client.ready["user_id"]
        assert "token" not in again.ready


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"token": "of somebody else"}, "unauthenticated"),
        ({"token": "x" * 1000}, "invalid"),
        ({"token": 7}, "invalid"),
        ({"protocol": 2}, "invalid"),
        ({"resume": [{"conversation_id": "x"}]}, "invalid"),
        ({"resume": [{}] * 101}, "invalid"),
        ({"unknown": True}, "invalid"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_with_a_code(
    server: ServerProcess, auth: dict[str, Any], expected: str
) -> None:
    with pytest.raises(Refused) as caught:
        WireClient(server.url, **auth)
    assert caught.value.error["code"] == expected


def test_a_foreign_origin_is_not_let_in(server: ServerProcess) -> None:
    address = server.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    with pytest.raises(websocket.WebSocketBadStatusException, match="400"):
        websocket.create_connection(address, origin="http://evil.example")
    websocket.create_connection(address, origin=server.url).close()


def test_a_refused_client_does_not_keep_its_line(server: ServerProcess) -> None:
    address = server.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    line = websocket.create_connection(address, timeout=60)
    line.recv()
    line.send('40{"token":"unknown"}')
    assert line.recv().startswith("44")
    assert line.recv() == ""
    line.close()


def test_the_connections_of_a_user_and_of_a_server_are_limited(start_server: StartServer, tmp_path: Path) -> None:
    limits = {"CHATBOT_CONNECTIONS": "3", "CHATBOT_CONNECTIONS_PER_USER": "2"}
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", **limits)
    with WireClient(server.url) as first, WireClient(server.url, token=first.token):
        with pytest.raises(Refused) as caught:
            WireClient(server.url, token=first.token)
        assert caught.value.error["code"] == "rate_limited"
        with WireClient(server.url), pytest.raises(Refused) as caught:
            WireClient(server.url)
        assert caught.value.error["code"] == "overloaded"
        assert caught.value.error["retry_after_ms"] > 0
    deadline = time.monotonic() + 30
    while True:  # the places are free again
        try:
            return WireClient(server.url, token=first.token).close()
        except Refused:
            assert time.monotonic() < deadline


def test_connections_from_one_address_are_limited_by_the_minute(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/c.db", CHATBOT_CONNECTS_PER_MINUTE="2")
    for _ in range(2):
        WireClient(server.url).close()
    with pytest.raises(Refused) as caught:
        WireClient(server.url, headers=["X-Forwarded-For: 192.0.2.1"])  # nobody is believed
    assert caught.value.error["code"] == "rate_limited"
    assert caught.value.error["retry_after_ms"] > 0


def test_behind_a_proxy_the_clients_own_address_counts(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/c.db", CHATBOT_CONNECTS_PER_MINUTE="1", CHATBOT_PROXIES="1")
    for client in ("192.0.2.1", "192.0.2.2"):
        WireClient(server.url, headers=[f"X-Forwarded-For: {client}"]).close()
    with pytest.raises(Refused):  # only what the proxy itself has added is believed
        WireClient(server.url, headers=["X-Forwarded-For: 192.0.2.3, 192.0.2.2"])


def test_a_message_beyond_the_capacity_is_refused_at_once_and_may_come_again(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(f"sqlite:///{tmp_path}/c.db", 60, CHATBOT_REPLIES="1")
    with WireClient(server.url) as client:
        first, second, key = client.create(), client.create(), new_key()
        running = client.send(first, "Hello")
        refused = client.send(second, "Hello", key)
        assert code(refused) == "overloaded"
        assert refused["error"]["retry_after_ms"] > 0
        assert client.call("sync", conversation_id=second)["events"] == []
        client.call("reply.stop", conversation_id=first, reply_id=running["reply_id"])
        client.completed(running["reply_id"])
        assert client.send(second, "Hello", key)["duplicate"] is False


def test_a_client_that_never_reads_what_others_cause_is_let_go(app: Flask) -> None:
    socketio = app.extensions["socketio"]
    deaf = socketio.test_client(app)
    talking = socketio.test_client(app, auth={"token": ready_of(deaf)["token"]})
    line = Socket(socketio.server.eio, deaf.eio_sid)
    socketio.server.eio.sockets[deaf.eio_sid] = line
    for _ in range(MOST_UNREAD):
        line.queue.put("a frame")
    talking.emit("conversation.create", {}, callback=True)
    assert not line.closed
    line.queue.put("one more")
    talking.emit("conversation.create", {}, callback=True)
    assert line.closed
    assert talking.emit("conversation.list", callback=True)["ok"]
    del socketio.server.eio.sockets[deaf.eio_sid]


def test_a_client_that_asks_and_never_reads_is_let_go(server: ServerProcess, client: WireClient) -> None:
    conversation = client.create()
    for _ in range(5):
        client.say(conversation, "x" * 4000)
    with WireClient(server.url, token=client.token) as deaf, pytest.raises((websocket.WebSocketException, OSError)):
        ask_without_reading(deaf, conversation, 20_000)
    assert client.call("conversation.list")["ok"]


def ask_without_reading(deaf: WireClient, conversation: str, times: int) -> None:
    for _ in range(times):
        deaf.send_frame('421["sync",{"conversation_id":"' + conversation + '"}]')
        time.sleep(0.001)  # else all is sent before the first is answered


def test_a_client_that_no_longer_answers_keeps_no_thread_busy_with_writing_to_it(app: Flask) -> None:
    socketio = app.extensions["socketio"]
    client = socketio.test_client(app)
    ours, theirs = socket.socketpair()
    socketio.server.environ[client.eio_sid]["gunicorn.socket"] = ours
    socketio.server.eio._trigger_event("disconnect", client.eio_sid, socketio.server.reason.PING_TIMEOUT)
    theirs.settimeout(30)
    assert theirs.recv(1) == b""
    ours.close()
    theirs.close()


# Conversations


def test_a_whole_turn_arrives_in_order(client: WireClient) -> None:
    conversation = client.create()
    sent = client.send(conversation, "How are you today?")
    reply = client.reply_to(sent)
    assert sent == {
        "ok": True,
        "message_id": sent["message_id"],
        "reply_id": sent["reply_id"],
        "seq": 1,
        "duplicate": False,
    }
    assert (reply["text"], reply["status"]) == ("You said: How are you today?", "completed")
    events = client.events(conversation)
    assert [(event["seq"], event["type"]) for event in events] == [
        (1, "message.created"),
        (2, "reply.started"),
        (3, "reply.completed"),
    ]
    assert events[0]["data"]["message_id"] == events[1]["data"]["parent_id"] == reply["parent_id"]
    deltas = client.deltas(sent["reply_id"])
    assert [delta["index"] for delta in deltas] == list(range(len(deltas)))
    assert "".join(delta["text"] for delta in deltas) == reply["text"]
    names = [name for name, _ in client.received]
    assert names.index("reply.delta") > names.index("event")
    assert names[-1] == "event"


def test_words_are_sent_together_and_not_one_by_one(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", delay=0.001)
    with WireClient(server.url) as client:
        sent = client.send(client.create(), "word " * 400)
        client.reply_to(sent)
        assert 2 <= len(client.deltas(sent["reply_id"])) <= 100


def test_every_tab_of_a_user_hears_everything_and_nobody_else_does(server: ServerProcess, client: WireClient) -> None:
    with WireClient(server.url, token=client.token) as tab, WireClient(server.url) as stranger:
        conversation = client.create()
        client.say(conversation, "Hello")
        tab.wait_for("event", lambda event: event["type"] == "reply.completed")
        assert tab.events(conversation) == client.events(conversation)
        tab.call("conversation.rename", conversation_id=conversation, title="  Greetings ")
        tab.call("conversation.delete", conversation_id=conversation)
        client.wait_for("notice", lambda notice: notice["type"] == "conversation.deleted")
        notices = [
            (data["type"], data["conversation"].get("title")) for name, data in client.received if name == "notice"
        ]
        assert notices == [
            ("conversation.created", None),
            ("conversation.renamed", "Hello"),
            ("conversation.renamed", "Greetings"),
            ("conversation.deleted", None),
        ]
        assert stranger.call("conversation.list")["conversations"] == []
        stranger.read_for(0.2)
        assert [name for name, _ in stranger.received] == ["ready"]


def test_conversations_are_listed_renamed_and_deleted(client: WireClient) -> None:
    first, second = client.create(), client.create()
    client.call("conversation.rename", conversation_id=first, title="First")
    listed = client.call("conversation.list")["conversations"]
    assert [(found["conversation_id"], found["title"], found["last_seq"]) for found in listed] == [
        (first, "First", 1),
        (second, None, 0),
    ]
    assert client.call("conversation.delete", conversation_id=first) == {"ok": True}
    assert code(client.call("sync", conversation_id=first)) == "not_found"
    assert [found["conversation_id"] for found in client.call("conversation.list")["conversations"]] == [second]


def test_conversations_are_listed_by_pages(client: WireClient) -> None:
    made = [client.create() for _ in range(5)]
    first = client.call("conversation.list", limit=3)
    rest = client.call("conversation.list", limit=3, after=first["next"])
    assert [one["conversation_id"] for one in first["conversations"] + rest["conversations"]] == made[::-1]
    assert rest["next"] is None
    for wrong in ("", "yesterday", f"2031-12-24 {made[0]}x", f"9999-12-31T23:59:59-23:59 {made[0]}"):
        assert code(client.call("conversation.list", after=wrong)) == "invalid"
    assert code(client.call("conversation.list", limit=201)) == "invalid"


def test_an_event_for_another_users_things_is_not_found(server: ServerProcess, client: WireClient) -> None:
    conversation = client.create()
    sent = client.send(conversation, "Mine")
    client.reply_to(sent)
    mine = {"conversation_id": conversation}
    attempts: dict[str, dict[str, Any]] = {
        "message.send": mine | {"client_msg_id": new_key(), "text": "Hello"},
        "message.edit": mine | {"client_msg_id": new_key(), "text": "Hello", "message_id": sent["message_id"]},
        "reply.stop": mine | {"reply_id": sent["reply_id"]},
        "reply.regenerate": mine | {"reply_id": sent["reply_id"]},
        "reply.choose": mine | {"reply_id": sent["reply_id"]},
        "feedback.set": mine | {"reply_id": sent["reply_id"], "rating": 1},
        "conversation.rename": mine | {"title": "Stolen"},
        "conversation.set_learning": mine | {"learn": True},
        "conversation.delete": mine,
        "sync": mine | {"after_seq": 0},
    }
    with WireClient(server.url, resume=[mine]) as stranger:
        for event, payload in attempts.items():
            assert code(stranger.call(event, payload)) == "not_found"
            assert code(stranger.call(event, payload | {"conversation_id": new_key()})) == "not_found"
        elsewhere = {"conversation_id": stranger.create()}
        for event in ("message.edit", "reply.stop", "reply.regenerate", "reply.choose", "feedback.set"):
            assert code(stranger.call(event, attempts[event] | elsewhere)) == "not_found"
        parent = {"parent_id": sent["reply_id"]}
        assert code(stranger.call("message.send", attempts["message.send"] | elsewhere | parent)) == "not_found"
        assert stranger.events(conversation) == []
        assert stranger.call("conversation.search", text="Mine") == {"ok": True, "found": []}
    assert client.call("sync", mine)["events"] == client.events(conversation)


# Delivery


def test_the_same_message_again_is_answered_from_the_first_one(client: WireClient) -> None:
    conversation, key = client.create(), new_key()
    first = client.send(conversation, "Once", key)
    again = client.send(conversation, "Once", key)
    assert again == first | {"duplicate": True}
    client.reply_to(first)
    assert client.send(conversation, "Once", key.upper()) == first | {"duplicate": True}
    assert code(client.send(conversation, "Twice", key)) == "idempotency_conflict"
    assert [event["seq"] for event in client.events(conversation)] == [1, 2, 3]


def test_a_second_message_during_a_reply_is_busy(client: WireClient) -> None:
    conversation = client.create()
    sent = client.send(conversation, "word " * 500)
    assert code(client.send(conversation, "And?")) == "busy"
    assert code(client.call("reply.regenerate", conversation_id=conversation, reply_id=sent["reply_id"])) == "busy"
    client.call("reply.stop", conversation_id=conversation, reply_id=sent["reply_id"])
    client.reply_to(sent)
    assert client.send(conversation, "And?")["ok"]


def test_of_two_tabs_that_send_at_once_one_is_busy(server: ServerProcess, client: WireClient) -> None:
    conversation = client.create()
    with WireClient(server.url, token=client.token) as tab, ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda sender: sender.send(conversation, "Me first! " * 300), (client, tab)))
    assert sorted(answer.get("error", {}).get("code", "ok") for answer in answers) == ["busy", "ok"]


def test_a_client_that_returns_is_sent_what_it_missed(server: ServerProcess, client: WireClient) -> None:
    conversation, other = client.create(), client.create()
    client.say(conversation, "Before")
    client.say(other, "Elsewhere")
    resume = [{"conversation_id": conversation, "after_seq": 2}, {"conversation_id": other, "after_seq": 3}]
    with WireClient(server.url, token=client.token, resume=resume) as back:
        assert back.wait_for("event") == client.events(conversation)[2]
        back.say(other, "On with it")
        assert [event["seq"] for event in back.events(other)] == [4, 5, 6]
        assert [event["seq"] for event in back.events(conversation)] == [3]


def test_sync_gives_the_events_in_pages(client: WireClient) -> None:
    conversation = client.create()
    client.say(conversation, "One")
    client.say(conversation, "Two")
    page = client.call("sync", conversation_id=conversation, after_seq=1, limit=3)
    assert [event["seq"] for event in page["events"]] == [2, 3, 4]
    assert page["more"] is True
    page = client.call("sync", conversation_id=conversation, after_seq=4)
    assert page == {"ok": True, "events": client.events(conversation)[4:], "more": False, "partial": []}


def test_a_client_that_joins_late_sees_the_reply_so_far_and_goes_on(server: ServerProcess, client: WireClient) -> None:
    conversation = client.create()
    sent = client.send(conversation, "word " * 500)
    client.wait_for("reply.delta", lambda delta: delta["index"] == 3)
    with WireClient(server.url, token=client.token) as late:
        [partial] = late.call("sync", conversation_id=conversation)["partial"]
        late.wait_for("reply.delta", lambda delta: delta["index"] == partial["next_index"] + 3)
        late.call("reply.stop", conversation_id=conversation, reply_id=sent["reply_id"])
        reply = late.reply_to(sent)
        rest = [delta for delta in late.deltas(sent["reply_id"]) if delta["index"] >= partial["next_index"]]
    assert partial["next_index"] > 3
    assert [delta["index"] for delta in rest] == list(range(partial["next_index"], partial["next_index"] + len(rest)))
    assert partial["text"] + "".join(delta["text"] for delta in rest) == reply["text"]


# Replies


def test_a_stopped_reply_keeps_its_words_so_far(client: WireClient) -> None:
    conversation = client.create()
    sent = client.send(conversation, "word " * 200)
    client.wait_for("reply.delta")
    stop = {"conversation_id": conversation, "reply_id": sent["reply_id"]}
    assert client.call("reply.stop", stop) == {"ok": True}
    reply = client.reply_to(sent)
    assert reply["status"] == "stopped"
    assert reply["text"] == "".join(delta["text"] for delta in client.deltas(sent["reply_id"]))
    assert client.call("reply.stop", stop) == {"ok": True}
    assert client.say(conversation, "Go on") == "You said: Go on"


def test_another_reply_and_an_edit_branch_off(client: WireClient) -> None:
    conversation = client.create()
    first = client.send(conversation, "Hello")
    client.reply_to(first)
    again = client.call("reply.regenerate", conversation_id=conversation, reply_id=first["reply_id"])
    reply = client.completed(again["reply_id"])
    assert (reply["parent_id"], reply["text"]) == (first["message_id"], "You said: Hello")
    edit = {"conversation_id": conversation, "message_id": first["message_id"], "client_msg_id": new_key()}
    edited = client.call("message.edit", edit | {"text": "Hi"})
    assert client.reply_to(edited)["text"] == "You said: Hi"
    created = client.events(conversation)[-3]["data"]
    assert (created["message_id"], created["parent_id"]) == (edited["message_id"], None)
    assert client.call("message.edit", edit | {"text": "Hi"}) == edited | {"duplicate": True}
    back = client.send(conversation, "Back", parent_id=first["reply_id"])
    client.reply_to(back)
    assert client.events(conversation)[-3]["data"]["parent_id"] == first["reply_id"]
    assert client.call("reply.choose", conversation_id=conversation, reply_id=edited["reply_id"]) == {"ok": True}
    on = client.send(conversation, "And on")
    client.reply_to(on)
    assert client.events(conversation)[-3]["data"]["parent_id"] == edited["reply_id"]


def test_a_search_finds_what_was_said_and_quotes_it(client: WireClient) -> None:
    conversation = client.create()
    client.say(conversation, "word " * 30 + "and then a Needle, " + "word " * 30)
    assert client.call("conversation.search", text="  needle ") == {
        "ok": True,
        "found": [
            {"conversation_id": conversation, "excerpt": f"…ord {'word ' * 3}and then a Needle, {'word ' * 17}wor…"}
        ],
    }
    assert client.call("conversation.search", text="haystack")["found"] == []


def test_a_reply_that_failed_says_so_and_the_conversation_goes_on(client: WireClient) -> None:
    conversation = client.create()
    reply = client.reply_to(client.send(conversation, "please fail"))
    assert (reply["status"], reply["text"]) == ("failed", "")
    assert client.say(conversation, "Still there?") == "You said: Still there?"


def test_feedback_is_an_event_of_the_conversation(client: WireClient) -> None:
    conversation = client.create()
    sent = client.send(conversation, "Hello")
    client.reply_to(sent)
    place = {"conversation_id": conversation, "reply_id": sent["reply_id"]}
    assert client.call("feedback.set", place | {"rating": -1, "better_text": "Good day!"}) == {"ok": True}
    data = client.wait_for("event", lambda event: event["type"] == "feedback.set")["data"]
    assert data == {"reply_id": sent["reply_id"], "rating": -1, "better_text": "Good day!"}
    assert code(client.call("feedback.set", place | {"rating": 2})) == "invalid"
    assert code(client.call("feedback.set", place | {"rating": 1, "better_text": "x" * 4001})) == "too_large"


def test_feedback_is_taken_back_by_rating_0_without_a_better_text(app: Flask) -> None:
    client = app.extensions["socketio"].test_client(app)
    ready_of(client)
    place = {"conversation_id": client.emit("conversation.create", {}, callback=True)["conversation_id"]}
    message = place | {"client_msg_id": new_key(), "text": "Hello"}
    place["reply_id"] = client.emit("message.send", message, callback=True)["reply_id"]
    given = [
        {"rating": 0, "better_text": " Good day! "},
        {"rating": -1, "better_text": " \n"},
        {"rating": 0, "better_text": ""},
        {"rating": 0},
    ]
    for feedback in given:
        assert client.emit("feedback.set", place | feedback, callback=True)["ok"]
    events = [packet["args"][0] for packet in client.get_received() if packet["name"] == "event"]
    told = [event["data"] for event in events if event["type"] == "feedback.set"]
    assert [(data["rating"], data["better_text"]) for data in told] == [
        (0, "Good day!"),
        (-1, None),
        (0, None),
        (0, None),
    ]
    with Session(app.extensions["conversations"].history.engine) as session:
        assert session.scalars(select(Feedback)).all() == []
    client.disconnect()


# Learning


def test_the_learning_choice_is_changed_in_every_tab(server: ServerProcess, client: WireClient) -> None:
    with WireClient(server.url, token=client.token) as tab:
        conversation = client.create()
        change = {"conversation_id": conversation, "learn": True}
        assert client.call("conversation.set_learning", change) == {"ok": True}
        event = tab.wait_for("event")
        assert (event["seq"], event["type"], event["data"]) == (1, "conversation.learning", {"learn": True})
        notice = tab.wait_for("notice", lambda notice: notice["type"] == "conversation.learning")
        assert notice["conversation"]["learn"] is True
        [listed] = tab.call("conversation.list")["conversations"]
        assert listed["learn"] is True
        assert code(client.call("conversation.set_learning", change | {"learn": "yes"})) == "invalid"
        assert code(client.call("conversation.set_learning", conversation_id=conversation)) == "invalid"


@pytest.mark.parametrize("default", [True, False])
def test_the_operator_chooses_where_nobody_else_does(tmp_path: Path, default: bool) -> None:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chatbot.db", learn=default), EchoEngine())
    client = app.extensions["socketio"].test_client(app)
    assert ready_of(client)["learn"] is default
    for choice in ({}, {"learn": True}, {"learn": False}):
        client.emit("conversation.create", choice, callback=True)
    listed = client.emit("conversation.list", callback=True)["conversations"]
    assert [found["learn"] for found in listed] == [False, True, default]
    drain(app, 1)


def test_a_conversation_no_longer_learned_from_is_forgotten_by_the_retrainings(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path))
    client = app.extensions["socketio"].test_client(app)
    place = {"conversation_id": client.emit("conversation.create", {"learn": True}, callback=True)["conversation_id"]}
    laid_by = prepared_from(place["conversation_id"])
    client.emit("conversation.set_learning", place | {"learn": True}, callback=True)
    assert laid_by.exists()
    client.emit("conversation.set_learning", place | {"learn": False}, callback=True)
    assert not laid_by.exists()
    client.disconnect()


# Erasing


def test_an_erased_user_is_in_no_file_and_starts_afresh(start_server: StartServer, tmp_path: Path) -> None:
    """What was said, corrected and titled, in a finished reply, in a running one, and in a retraining's data."""
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", delay=0.01, CHATBOT_HOME=str(tmp_path))
    phrase = "quokka-marmalade"
    with WireClient(server.url) as stranger, WireClient(server.url) as client:
        kept = stranger.create()
        stranger.say(kept, "Mine stays")
        with WireClient(server.url, token=client.token) as tab:
            conversation, other = client.create(), client.create()
            sent = client.send(conversation, f"I like {phrase}")
            client.reply_to(sent)
            place = {"conversation_id": conversation, "reply_id": sent["reply_id"]}
            client.call("feedback.set", place | {"rating": -1, "better_text": f"So do I: {phrase}"})
            client.call("conversation.rename", conversation_id=conversation, title=f"About {phrase}")
            run = tmp_path / "retrain" / "first"
            run.mkdir(parents=True)
            (run / "data.json").write_text(json.dumps({"conversations": [hash_of(conversation)]}))
            (run / "dialogues.jsonl").write_text(phrase)
            client.send(other, f"{phrase} " * 300)
            client.wait_for("reply.delta", lambda delta: delta["index"] == 1)
            assert phrase.encode() in everything_in(tmp_path)
            assert client.call("user.delete") == {"ok": True}
            assert tab.wait_for("notice", lambda notice: notice["type"] == "user.deleted") == {"type": "user.deleted"}
            assert code(client.call("conversation.create")) == "unauthenticated"
            for left in (client, tab):
                with pytest.raises((ConnectionError, websocket.WebSocketException, OSError)):
                    left.read_for(60)
        with pytest.raises(Refused) as caught:
            WireClient(server.url, token=client.token)
        assert caught.value.error["code"] == "unauthenticated"
        assert stranger.say(stranger.create(), "Still here") == "You said: Still here"
        assert b"Mine stays" in everything_in(tmp_path)
        assert phrase.encode() not in everything_in(tmp_path)
    server.terminate()
    assert phrase.encode() not in everything_in(tmp_path)
    assert phrase not in server.errors()


def test_a_user_erased_by_a_command_does_not_come_back_in_a_running_server(
    start_server: StartServer, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = start_server(database, delay=0.02)
    with WireClient(server.url) as client:
        conversation = client.create()
        client.send(conversation, "quokka " * 30)
        client.wait_for("reply.delta")
        stored = open_history(database)
        stored.delete_user(client.ready["user_id"])
        client.read_for(2)  # the reply goes on to its end and is nowhere stored
        assert code(client.send(conversation, "Hello?")) == "not_found"
        assert code(client.call("conversation.create")) == "unauthenticated"
        assert stored.conversations() == []
        stored.engine.dispose()
    server.terminate()
    assert b"quokka" not in everything_in(tmp_path)


def test_a_conversation_deleted_during_its_reply_is_gone(client: WireClient) -> None:
    conversation = client.create()
    sent = client.send(conversation, "word " * 500)
    client.wait_for("reply.delta")
    assert client.call("conversation.delete", conversation_id=conversation) == {"ok": True}
    client.read_for(0.3)  # words that were on their way
    client.received.clear()
    client.read_for(0.3)
    assert client.deltas(sent["reply_id"]) == []
    assert client.events(conversation) == []
    assert client.call("conversation.list")["conversations"] == []


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "'; DROP TABLE users; --", "\u202e \U0001f600 \\u0000"]
)
def test_text_comes_back_as_it_went(client: WireClient, text: str) -> None:
    conversation = client.create()
    assert client.say(conversation, text) == f"You said: {text}"
    assert client.events(conversation)[0]["data"]["text"] == text


# Limits


def test_a_message_may_have_4000_characters_and_no_more(client: WireClient) -> None:
    conversation = client.create()
    assert code(client.send(conversation, "x" * 4001)) == "too_large"
    sent = client.send(conversation, "\U0001f600" * 4000)
    assert sent["ok"]


def test_an_event_may_have_64_kilobytes_and_no_more(client: WireClient) -> None:
    empty = len(json.dumps({"title": ""}, separators=(",", ":")))
    assert code(client.call("conversation.create", title="x" * (65536 - empty))) == "invalid"
    assert code(client.call("conversation.create", title="x" * (65536 - empty + 1))) == "too_large"
    assert code(client.call("conversation.create", title="x" * 200_000)) == "too_large"
    assert client.call("conversation.list")["ok"]


def test_an_event_far_too_large_ends_the_connection_and_nothing_else(server: ServerProcess, client: WireClient) -> None:
    with WireClient(server.url) as greedy, pytest.raises((ConnectionError, websocket.WebSocketException, OSError)):
        greedy.call("conversation.create", title="x" * 5_000_000)
    assert client.call("conversation.list")["ok"]


def test_messages_are_limited_by_the_minute(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", CHATBOT_MESSAGES_PER_MINUTE="3")
    with WireClient(server.url) as client, WireClient(server.url) as other:
        conversation = client.create()
        for _ in range(3):
            client.say(conversation, "Hello")
        refused = client.send(conversation, "Hello")
        assert code(refused) == "rate_limited"
        assert 0 < refused["error"]["retry_after_ms"] <= 60_000
        assert other.say(other.create(), "Hello")


def test_whatever_is_stored_is_limited_by_the_minute(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", CHATBOT_MESSAGES_PER_MINUTE="4")
    with WireClient(server.url) as client:
        where = {"conversation_id": client.create()}
        reply = {**where, "reply_id": client.send(where["conversation_id"], "Hello")["reply_id"]}
        client.completed(reply["reply_id"])
        for _ in range(3):
            assert client.call("conversation.rename", **where, title="A title")["ok"]
        changes = {
            "conversation.create": {},
            "conversation.rename": {**where, "title": "Another"},
            "conversation.set_learning": {**where, "learn": True},
            "reply.choose": reply,
            "feedback.set": {**reply, "rating": 1},
        }
        assert {code(client.call(event, payload)) for event, payload in changes.items()} == {"rate_limited"}
        assert client.say(where["conversation_id"], "Hello")
        assert client.call("conversation.delete", **where)["ok"]


def test_tokens_are_limited_by_the_minute_read_and_written(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db", CHATBOT_TOKENS_PER_MINUTE="150")
    with WireClient(server.url) as client, WireClient(server.url) as other:
        conversation = client.create()
        client.say(conversation, "hello " * 60)  # and 40 that the reply may have
        refused = client.send(conversation, "hello " * 60)
        assert code(refused) == "rate_limited"
        assert 0 < refused["error"]["retry_after_ms"] <= 120_000
        client.say(conversation, "Hello")
        assert other.say(other.create(), "Hello")


# A look inside


def test_a_reply_is_explained_by_what_it_was_chosen_among(client: WireClient) -> None:
    conversation = client.create()
    reply = client.reply_to(client.send(conversation, "Hello"))
    answer = client.call("reply.explain", conversation_id=conversation, reply_id=reply["reply_id"])
    assert [one["text"] for one in answer["candidates"]] == ["You said: Hello", "Hm."]
    numbers = {"score": 0.0, "log_probability": -2.0, "log_prior": -3.0, "relevance": 0.5, "repetition": 0.0}
    kind = {"sensible": None, "specific": None, "source": "decoded", "retrieved": False}
    assert answer["candidates"][0] == numbers | kind | {"text": "You said: Hello"}
    assert answer["candidates"][1]["retrieved"]
    assert answer["moved"] == pytest.approx(1.0)  # the echo's states count utterances


def test_candidates_kept_before_there_was_a_chooser_are_told_as_well() -> None:
    kept = {"text": "Hm.", "score": 1.0, "is_retrieved": True}
    told = {"sensible": None, "specific": None, "source": "retrieved", "retrieved": True}
    assert _as_sent(kept) == {"text": "Hm.", "score": 1.0} | told


def test_a_conversations_path_is_shown_on_the_map(client: WireClient) -> None:
    conversation = client.create()
    assert client.call("conversation.path", conversation_id=conversation)["points"] == []
    for text in ("One", "Two"):
        client.say(conversation, text)
    answer = client.call("conversation.path", conversation_id=conversation)
    points = answer["points"]
    assert [point["speaker"] for point in points] == ["user", "bot", "user", "bot"]
    assert [point["moved"] for point in points] == [None, 1, 1, 1]
    assert [point["x"] for point in points] == pytest.approx([1 / 40, 2 / 40, 3 / 40, 4 / 40])
    assert [len(row) for row in answer["map"]["density"]] == [32] * 32


def test_a_turn_is_decoded_in_other_ways_without_anything_being_stored(client: WireClient) -> None:
    conversation = client.create()
    reply = client.reply_to(client.send(conversation, "Hello"))
    before = client.events(conversation)
    answer = client.call("reply.compare", conversation_id=conversation, reply_id=reply["reply_id"])
    ways = ["greedy", "beam", "sample", "chosen"]
    assert answer["variants"] == [{"name": name, "text": "You said: Hello"} for name in ways]
    [first] = answer["tree"]["children"]
    assert (first["word"], first["probability"]) == ("You", 0.5)
    assert client.events(conversation) == before


# Malformed


def raw_call(client: WireClient, frame: str) -> dict[str, Any]:
    """Send what stands after the number of an acknowledged event -> its answer."""
    client.send_frame(f"42999{frame}")
    return client.answer_to(999)


@pytest.mark.parametrize(
    "payload",
    [None, [], "text", 7, True, {}, {"text": "x"}, {"conversation_id": None}, {"conversation_id": {"$ne": 1}}, [[[]]]],
)
def test_a_malformed_payload_is_invalid(client: WireClient, payload: Any) -> None:
    for event in ("message.send", "message.edit", "reply.stop", "feedback.set", "sync", "conversation.delete"):
        assert code(raw_call(client, json.dumps([event, payload]))) == "invalid"


@pytest.mark.parametrize("text", ["", "  \n", "zero\0byte", 7, None, ["x"]])
def test_a_message_without_proper_text_is_invalid(client: WireClient, text: Any) -> None:
    assert code(client.send(client.create(), text)) == "invalid"


def test_a_lone_surrogate_is_invalid(client: WireClient) -> None:
    place = json.dumps({"conversation_id": client.create(), "client_msg_id": new_key(), "text": "?"})
    assert code(raw_call(client, '["message.send",' + place.replace('"?"', '"\\ud800"') + "]")) == "invalid"


@pytest.mark.parametrize(
    "frame", ["[]", "[7]", "{}", "[null]", "[[]]", '[{"a":1}]', '["connect"]', '["disconnect"]', '["*"]']
)
def test_an_event_without_a_proper_name_is_invalid(client: WireClient, frame: str) -> None:
    assert code(raw_call(client, frame)) == "invalid"
    assert client.call("conversation.list")["ok"]


def test_a_binary_event_does_not_make_its_connection_deaf(client: WireClient) -> None:
    client.send_frame('451-77["message.send",{"_placeholder":true,"num":0}]')
    assert code(client.answer_to(77)) == "invalid"
    client.send_bytes(b"late attachment")
    assert client.call("conversation.list")["ok"]


def test_an_unknown_event_is_invalid(client: WireClient) -> None:
    assert code(client.call("conversation.explode", everything=True)) == "invalid"
    assert code(client.call("constructor")) == "invalid"


def test_a_refusal_names_the_field_and_what_is_wrong_with_it(client: WireClient) -> None:
    assert client.call("sync", conversation_id="7")["error"]["message"] == "conversation_id: it is not a UUID."
    for blank in (" ", "\u200b\u200d", "\ufeff\u2060", "\u3164", "\u2800\n", "\u00ad\ufe0f"):
        assert client.send(client.create(), blank)["error"]["message"] == "text: it is empty."


@pytest.mark.parametrize(
    "frame",
    ["", "4", "42", "42[", "42{}", "42[]", "42[7]", "42[[]]", "42[null,1]", "421[{}]", "43", "43[]", "439[1]", "45",
     "46", "451-", "40/other,", "40", "41/other,", "9", "x", "2probe", "42" + "[" * 50_000,
     '42["sync",' + "9" * 5000 + "]"],
)  # fmt: skip
def test_a_malformed_frame_harms_nobody_else(server: ServerProcess, client: WireClient, frame: str) -> None:
    with WireClient(server.url) as vandal:
        vandal.send_frame(frame)
        vandal.send_frame(frame)
    assert client.call("conversation.list")["ok"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30) | st.uuids().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("conversation_id", "client_msg_id", "text", "parent_id", "reply_id", "message_id", "rating", "better_text",
          "title", "after_seq", "limit", "learn")  # fmt: skip
PAYLOADS = JSON | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6)
EVENTS = (
    "message.send", "message.edit", "reply.stop", "reply.regenerate", "feedback.set", "conversation.create",
    "conversation.rename", "conversation.set_learning", "conversation.delete", "conversation.list", "user.delete",
    "sync", "message", "json", "connect",
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=st.sampled_from(EVENTS) | st.text(max_size=10), arguments=st.lists(PAYLOADS, max_size=2))
def test_whatever_is_sent_is_acknowledged(app: Flask, event: str, arguments: list[Any]) -> None:
    client = app.extensions["socketio"].test_client(app)
    answer = client.emit(event, *arguments, callback=True)
    assert answer["ok"] or answer["error"]["code"] in ("invalid", "not_found", "too_large")
    client.disconnect()


def test_an_error_inside_is_acknowledged_as_internal(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("a secret path")

    client = app.extensions["socketio"].test_client(app)
    monkeypatch.setattr(app.extensions["conversations"], "create", fail)
    answer = client.emit("conversation.create", {}, callback=True)
    assert code(answer) == "internal"
    assert "secret" not in answer["error"]["message"]
    client.disconnect()


def test_a_tab_that_is_just_leaving_takes_nothing_from_the_others(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    socketio = app.extensions["socketio"]
    leaving = socketio.test_client(app)
    token = ready_of(leaving)["token"]
    staying = socketio.test_client(app, auth={"token": token})
    ready_of(staying)
    send = socketio.server._send_eio_packet

    def fail_for_one(line: str, packet: Any) -> None:
        if line == leaving.eio_sid:
            raise SocketIsClosedError
        send(line, packet)

    monkeypatch.setattr(socketio.server, "_send_eio_packet", fail_for_one)
    place = {"conversation_id": staying.emit("conversation.create", {}, callback=True)["conversation_id"]}
    assert staying.emit("message.send", place | {"client_msg_id": new_key(), "text": "Hello"}, callback=True)["ok"]
    drain(app, 60)
    events = [packet["args"][0]["type"] for packet in staying.get_received() if packet["name"] == "event"]
    assert events == ["message.created", "reply.started", "reply.completed"]


def ready_of(client: Any) -> dict[str, Any]:
    """What a test client was welcomed with; it is in its user's room by then."""
    while True:
        for packet in client.get_received():
            if packet["name"] == "ready":
                return dict(packet["args"][0])
        time.sleep(0.01)


# The database in trouble


def finished_by(app: Flask, monkeypatch: pytest.MonkeyPatch, finish: Callable[..., Any]) -> dict[str, Any]:
    """Send a message while `finish` stands before the history's finish_reply -> the data of reply.completed."""
    service = app.extensions["conversations"]
    real = service.history.finish_reply
    monkeypatch.setattr(service.history, "finish_reply", lambda *arguments: finish(real, *arguments))
    client = app.extensions["socketio"].test_client(app)
    place = {"conversation_id": client.emit("conversation.create", {}, callback=True)["conversation_id"]}
    client.emit("message.send", place | {"client_msg_id": new_key(), "text": "Hello"}, callback=True)
    completed: list[dict[str, Any]] = []
    deadline = time.monotonic() + 60
    while not completed and time.monotonic() < deadline:
        events = client.emit("sync", place, callback=True)["events"]
        completed = [event["data"] for event in events if event["type"] == "reply.completed"]
    client.disconnect()
    return completed[0]


def test_a_slow_disk_does_not_hold_up_the_engine(
    app: Flask, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(real: Callable[..., Any], *arguments: Any) -> Any:
        engine.wait()  # for its threads: it would never end were this one of them
        return real(*arguments)

    assert finished_by(app, monkeypatch, slow)["text"] == "You said: Hello"


def test_a_reply_is_stored_once_the_database_is_back(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter(range(2))

    def away(real: Callable[..., Any], *arguments: Any) -> Any:
        if next(failures, None) is not None:
            raise OperationalError("COMMIT", {}, Exception("the server closed the connection"))
        return real(*arguments)

    assert finished_by(app, monkeypatch, away)["text"] == "You said: Hello"


def test_a_reply_that_cannot_be_stored_ends_as_failed(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(real: Callable[..., Any], conversation: str, reply_id: str, reply: FinishedReply) -> Any:
        if reply.text:
            raise DataError("UPDATE", {}, Exception("invalid byte sequence"))
        return real(conversation, reply_id, reply)

    assert finished_by(app, monkeypatch, refuse)["status"] == "failed"


# Other clients


def test_the_official_python_client_holds_a_conversation(server: ServerProcess) -> None:
    with socketio.SimpleClient() as client:
        client.connect(server.url, transports=["websocket"])
        assert client.receive(timeout=10)[0] == "ready"
        conversation = client.call("conversation.create", {})["conversation_id"]
        message = {"conversation_id": conversation, "client_msg_id": new_key(), "text": "Hello, you"}
        reply_id = client.call("message.send", message)["reply_id"]
        while True:
            name, payload = client.receive(timeout=10)
            if name == "event" and payload["type"] == "reply.completed":
                break
        assert payload["data"]["reply_id"] == reply_id
        assert payload["data"]["text"] == "You said: Hello, you"


def test_many_conversations_at_once_stay_apart(server: ServerProcess) -> None:
    def chat(number: int) -> None:
        with WireClient(server.url) as client:
            conversation = client.create()
            for turn in range(3):
                assert client.say(conversation, f"{number} {turn}") == f"You said: {number} {turn}"
            events = client.events(conversation)
            assert [event["seq"] for event in events] == list(range(1, 10))
            assert len([name for name, _ in client.received if name == "event"]) == 9

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(chat, range(30)))


def test_the_dialogue_state_is_handed_from_turn_to_turn(app: Flask, engine: EchoEngine) -> None:
    client = app.extensions["socketio"].test_client(app)
    conversation = client.emit("conversation.create", {}, callback=True)["conversation_id"]

    def say(text: str) -> None:
        place = {"conversation_id": conversation, "client_msg_id": new_key()}
        reply_id = client.emit("message.send", place | {"text": text}, callback=True)["reply_id"]
        status = app.extensions["conversations"].history
        user = status.conversations()[0].user_id
        while status.reply_status(user, conversation, reply_id) == "started":
            time.sleep(0.01)

    say("One")
    say("Two")
    first, second = engine.requests
    assert (first.context, first.state) == ((), None)
    assert second.context == ("One", "You said: One")
    assert second.state.checkpoint == "echo"
    engine.checkpoint.id = "another"
    say("Three")
    assert engine.requests[2].state.checkpoint == "echo"
    client.disconnect()
