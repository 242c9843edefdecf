"""API keys: made and revoked by command, asked for over HTTP and over the websocket, on every worker."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websocket
from click.testing import CliRunner

from chatbot.cli import main
from chatbot.history import History, NotFoundError
from chatbot.keys import Keys
from tests.clients import Refused, ServerProcess, WireClient
from tests.echo_engine import EchoEngine
from web.app import create_app, drain
from web.config import Settings

HELLO = {"model": "live", "messages": [{"role": "user", "content": "Hello"}]}


def command(database: str, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["keys", *arguments, "--database", database])
    assert result.exit_code == 0, result.output
    return result.output.strip()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_key_is_known_by_its_hash_only(history: History) -> None:
    keys = Keys(history)
    key = keys.create("shop", ("chat",))
    [stored] = keys.all()
    assert stored.secret_hash.startswith("$argon2id$")
    secret = key.split("_", 2)[2]  # which may hold "_" itself
    assert len(secret) == 43
    assert secret not in stored.secret_hash
    assert Keys(history).verify(key) == stored.id
    for wrong in (
        key + "x",
        key[:-1],
        f"cb_{stored.id}_",
        "cb__",
        "",
        "' OR 1=1 --",
        key.replace("cb", "cc"),
        "\ud800",
    ):
        assert Keys(history).verify(wrong) is None


def test_a_key_is_revoked_and_stays_listed(history: History) -> None:
    keys = Keys(history)
    keys.create("shop", ("chat", "read"))
    [stored] = keys.all()
    keys.revoke(stored.id)
    keys.revoke(stored.id)
    assert [key.revoked_at is not None for key in keys.all()] == [True]
    with pytest.raises(NotFoundError, match="There is no key nobody"):
        keys.revoke("nobody")


def test_an_erased_user_is_no_keys_any_more(history: History) -> None:
    keys = Keys(history)
    keys.create("shop", ("chat",))
    [stored] = keys.all()
    user, _ = history.add_user()
    keys.attach(user, stored.id)
    assert (keys.key_of(user), keys.users_of(stored.id)) == (stored.id, [user])
    history.delete_user(user)
    assert keys.users_of(stored.id) == []


def test_the_commands_make_list_and_revoke(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chat.db"
    key = command(database, "create", "the shop", "--scope", "chat", "--scope", "read")
    listed = command(database, "list")
    assert "chat,read  valid  'the shop'" in listed
    assert key not in listed
    command(database, "revoke", listed.split()[0])
    assert "revoked" in command(database, "list")
    refused = CliRunner().invoke(main, ["keys", "revoke", "nobody", "--database", database])
    assert refused.exit_code == 2
    assert "There is no key nobody" in refused.output


def test_over_http_a_closed_server_asks_for_a_key_with_the_scope(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chat.db"
    talking, reading = command(database, "create", "a"), command(database, "create", "b", "--scope", "read")
    app = create_app(Settings(database=database), EchoEngine())
    caller = app.test_client()

    def ask(path: str, **headers: Any) -> int:
        if path.startswith("/v1/chat"):
            return caller.post(path, json=HELLO, **headers).status_code
        return caller.get(path, **headers).status_code

    stored = app.extensions["conversations"].history
    user, token = stored.add_user()
    for path in ("/v1/chat/completions", "/v1/models"):
        assert ask(path) == 401
        assert ask(path, headers=bearer("cb_000000000000_wrong")) == 401
        assert ask(path, headers=bearer(reading)) == 403
        assert ask(path, headers=bearer(talking)) == 200
        assert ask(path, headers=bearer(token)) == 200
    assert ask("/api/conversations", headers=bearer(talking)) == 403
    keys = Keys(stored)
    keys.attach(user, keys.all()[1].id)
    conversation = stored.create_conversation(user).id
    stored.create_conversation(stored.add_user()[0])
    listed = caller.get("/api/conversations", headers=bearer(reading)).json["conversations"]
    assert [one["conversation_id"] for one in listed] == [conversation]
    assert ask(f"/api/conversations/{conversation}/export", headers=bearer(reading)) == 200
    drain(app, 1)


def test_wrong_keys_are_not_tried_without_end(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chat.db"
    command(database, "create", "a")
    app = create_app(Settings(database=database), EchoEngine())
    statuses = [app.test_client().get("/v1/models", headers=bearer(f"cb_{n}")).status_code for n in range(22)]
    assert statuses == [401] * 20 + [429] * 2
    drain(app, 1)


def test_wrong_keys_lock_out_no_valid_one_of_the_same_address(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chat.db"
    used, unused = command(database, "create", "used"), command(database, "create", "not used yet")
    app = create_app(Settings(database=database), EchoEngine())

    def ask(key: str) -> int:
        return app.test_client().get("/v1/models", headers=bearer(key)).status_code

    assert ask(used) == 200
    assert {ask(f"cb_{n}") for n in range(30)} == {401, 429}
    assert [ask(used), ask(unused)] == [200, 200]
    assert [ask(f"{used}x") for _ in range(21)] == [401] * 20 + [429]
    assert ask(used) == 200
    drain(app, 1)


def test_a_revoked_keys_sockets_are_closed_on_every_worker(
    tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    database = f"sqlite:///{tmp_path}/chat.db"
    key, other = command(database, "create", "mine"), command(database, "create", "another")
    server = start_server(database, CHATBOT_WORKERS="2")
    with pytest.raises(Refused) as refused:
        WireClient(server.url)
    assert refused.value.error["code"] == "unauthenticated"
    clients = [WireClient(server.url, key=key) for _ in range(4)]
    token = clients[0].token
    returned = WireClient(server.url, token=token)
    staying = WireClient(server.url, key=other)
    command(database, "revoke", command(database, "list").split()[0])
    started = time.monotonic()
    for client in (*clients, returned):
        with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
            client.read_for(20)
    assert time.monotonic() - started < 20
    assert staying.call("conversation.list")["ok"]
    time.sleep(2)  # by when the other worker knows as well
    for auth in ({"key": key}, {"token": token}):
        with pytest.raises(Refused) as refused:
            WireClient(server.url, **auth)
        assert refused.value.error["code"] == "unauthenticated", json.dumps(auth)
    staying.close()
