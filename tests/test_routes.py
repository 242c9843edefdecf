"""The REST beside the websocket."""

import gzip
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from chatbot.history import FinishedReply, History
from tests.echo_engine import EchoEngine
from web.app import create_app, drain
from web.config import Settings, SettingsError


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine()


@pytest.fixture
def app(database: str, engine: EchoEngine) -> Iterator[Flask]:
    app = create_app(Settings(database=database), engine)
    yield app
    drain(app, 1)


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def stored(app: Flask) -> History:
    return app.extensions["conversations"].history


def chat(history: History, user: str, *texts: str) -> str:
    conversation = history.create_conversation(user).id
    for text in texts:
        accepted = history.add_message(user, conversation, str(uuid.uuid4()), text)
        history.finish_reply(conversation, accepted.reply_id, FinishedReply(text.upper(), "completed", "echo"))
    return conversation


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", ["/", "/static/chat.css", "/static/main.js"])
def test_the_page_is_sent_compressed_to_whoever_unpacks_it(browser: FlaskClient, path: str) -> None:
    plain, packed = browser.get(path), browser.get(path, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) == int(packed.headers["Content-Length"]) < 0.5 * len(plain.data)
    assert "Accept-Encoding" in packed.headers["Vary"]
    if etag := packed.headers.get("ETag"):
        assert browser.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/", "Ann O&#39;Hara"),
        ("/operator", "Ann O&#39;Hara: operating"),
        ("/api/docs", "Interfaces · Ann O&#39;Hara"),
    ],
)
def test_every_page_has_the_name_of_the_chatbot_in_its_title(tmp_path: Path, path: str, title: str) -> None:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chatbot.db", name=" Ann O'Hara "), EchoEngine())
    page = app.test_client().get(path).text
    drain(app, 1)
    assert f"<title>{title}</title>" in page
    assert ">Chatbot" not in page


def test_the_face_is_the_same_wherever_it_is_drawn() -> None:
    files = ("templates/face.html", "static/icon.svg", "static/widget_chat.js")
    faces = [re.findall(r'"(M12 [^"]{100,})"', Path("web", file).read_text()) for file in files]
    assert len(faces[0]) == 1
    assert faces[0] == faces[1] == faces[2]


def test_the_page_comes_with_a_strict_policy(browser: FlaskClient) -> None:
    answer = browser.get("/")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    for rule in ("default-src 'self'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for inline in ("<script>", "<style", " onclick=", " onload=", ' style="'):
        assert inline not in answer.text


def health(browser: FlaskClient) -> tuple[int, str]:
    answer = browser.get("/healthz")
    return answer.status_code, answer.json["status"]


def test_health_names_the_checkpoint_and_notices_what_is_wrong(
    app: Flask, browser: FlaskClient, engine: EchoEngine
) -> None:
    service = app.extensions["conversations"]
    assert browser.get("/healthz").json == {"status": "ok", "checkpoint": "echo"}
    engine.is_running = False
    assert health(browser) == (503, "engine stopped")
    service.draining = True
    assert health(browser) == (503, "draining")
    with service.history.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE users RENAME TO lost")
    assert health(browser) == (503, "database unavailable")


def test_who_takes_no_messages_is_not_ready(app: Flask, browser: FlaskClient, engine: EchoEngine) -> None:
    def ready() -> tuple[int, str]:
        answer = browser.get("/readyz")
        return answer.status_code, answer.json["status"]

    assert ready() == (200, "ready")
    engine.is_running = False
    assert ready() == (503, "not ready")
    engine.is_running = True
    app.extensions["conversations"].draining = True
    assert ready() == (503, "not ready")


def test_conversations_are_listed_by_pages(stored: History, browser: FlaskClient) -> None:
    user, token = stored.add_user()
    made = {stored.create_conversation(user).id for _ in range(201)}
    first = browser.get("/api/conversations", headers=bearer(token)).json
    assert len(first["conversations"]) == 200
    rest = browser.get("/api/conversations", query_string={"after": first["next"]}, headers=bearer(token)).json
    assert {one["conversation_id"] for one in first["conversations"] + rest["conversations"]} == made
    assert rest["next"] is None
    assert browser.get("/api/conversations?after=x", headers=bearer(token)).status_code == 400


def test_a_user_gets_the_own_conversations_and_no_others(stored: History, browser: FlaskClient) -> None:
    (user, token), (stranger, other_token) = stored.add_user(), stored.add_user()
    conversation = chat(stored, user, "hello", "<b>bye</b>")
    chat(stored, stranger, "elsewhere")
    listed = browser.get("/api/conversations", headers=bearer(token)).json["conversations"]
    assert [(found["conversation_id"], found["title"], found["last_seq"]) for found in listed] == [
        (conversation, "hello", 6)
    ]
    answer = browser.get(f"/api/conversations/{conversation}/export", headers=bearer(token))
    assert answer.mimetype == "application/jsonl"
    [line] = answer.text.splitlines()
    assert [message["content"] for message in json.loads(line)["messages"]] == [
        "hello",
        "HELLO",
        "<b>bye</b>",
        "<B>BYE</B>",
    ]
    assert browser.get(f"/api/conversations/{conversation}/export", headers=bearer(other_token)).status_code == 404


def test_a_user_takes_all_of_the_own_conversations_at_once(stored: History, browser: FlaskClient) -> None:
    (user, token), (stranger, _) = stored.add_user(), stored.add_user()
    chat(stored, user, "hello")
    chat(stored, stranger, "elsewhere")
    chat(stored, user, "☃ <b>bye</b>")
    answer = browser.get("/api/export", headers=bearer(token))
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("application/jsonl", "no-store")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="conversations.jsonl"'
    said = [[message["content"] for message in json.loads(line)["messages"]] for line in answer.text.splitlines()]
    assert said == [["hello", "HELLO"], ["☃ <b>bye</b>", "☃ <B>BYE</B>"]]


def test_no_token_is_taken_from_an_address(stored: History, browser: FlaskClient) -> None:
    _, token = stored.add_user()
    assert browser.get(f"/api/export?token={token}").status_code == 401


@pytest.mark.parametrize(
    "headers", [{}, bearer("wrong"), bearer("' OR 1=1 --"), bearer(""), {"Authorization": "Basic dTpw"}]
)
def test_without_a_known_token_nothing_is_told(browser: FlaskClient, headers: dict[str, str]) -> None:
    for path in ("/api/conversations", "/api/export", f"/api/conversations/{uuid.uuid4()}/export"):
        answer = browser.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.json["error"]["code"] == "unauthenticated"


def test_a_database_in_trouble_is_one_sentence(stored: History, browser: FlaskClient) -> None:
    with stored.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE users RENAME TO lost")
    answer = browser.get("/api/conversations", headers=bearer("any"))
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "internal")


@pytest.mark.parametrize("name", ["2f1c8a52-6d0e-4b1a-9c37-5e8d0a4b7f16", "1", "' OR 1=1 --", "..%2f..%2fetc%2fpasswd"])
def test_what_is_not_there_is_not_found(stored: History, browser: FlaskClient, name: str) -> None:
    _, token = stored.add_user()
    assert browser.get(f"/api/conversations/{name}/export", headers=bearer(token)).status_code == 404


def test_long_polling_is_not_offered(browser: FlaskClient) -> None:
    assert browser.get("/socket.io/?EIO=4&transport=polling").status_code == 400


# Settings


def test_flags_win_over_the_environment_and_the_environment_over_defaults() -> None:
    environment = {"CHATBOT_PORT": "8123", "CHATBOT_HOST": "0.0.0.0", "CHATBOT_CHECKPOINT": ""}
    settings = Settings.from_environment(environment, port=9000, host=None)
    assert (settings.port, settings.host, settings.checkpoint) == (9000, "0.0.0.0", "live")


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("capacitor://localhost", "capacitor://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("https://Shop.Example:443/", "https://shop.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_kept_as_it_is_sent(written: str, sent: str) -> None:
    assert Settings.from_environment({"CHATBOT_ORIGINS": written}).origins == (sent,)


@pytest.mark.parametrize(
    "never",
    [
        "https://*.example.com", "http://localhost:*", "https://a.example/path", "*", "null", "https://", "a.example",
        "https://ann@a.example", "https://a.example?x", "https://bücher.example", "file://a", "javascript://a",
    ],
)  # fmt: skip
def test_an_origin_that_is_never_sent_is_refused(never: str) -> None:
    with pytest.raises(SettingsError, match="an origin looks like"):
        Settings.from_environment({"CHATBOT_ORIGINS": f"https://good.example,{never}"})


def test_only_listed_hosts_are_served(tmp_path: Path) -> None:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chat.db", hosts="Chat.example, b.example"), EchoEngine())
    served = ("chat.example", "CHAT.example:8000", "b.example", "127.0.0.1:8000", "[::1]:8000", "localhost:1")
    for host in served:
        assert app.test_client().get("/readyz", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "chat.example.evil.example", "", "[", "a@chat.example:x"):
        for path in ("/readyz", "/socket.io/?EIO=4&transport=websocket"):
            assert app.test_client().get(path, headers={"Host": host}).status_code == 421, host
    drain(app, 1)


@pytest.mark.parametrize("host", ["https://chat.example", "*.example", "chat.example:8000", "chat.example/"])
def test_a_host_that_could_never_be_asked_for_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="a host looks like"):
        Settings.from_environment({"CHATBOT_HOSTS": host})


def test_origins_are_an_exact_list_and_an_empty_one_is_none() -> None:
    assert Settings.from_environment({"CHATBOT_ORIGINS": "https://a.example/, https://b.example"}).origins == (
        "https://a.example",
        "https://b.example",
    )
    assert Settings.from_environment({"CHATBOT_ORIGINS": " , "}).origins is None
    assert Settings(origins=()).origins is None
    with pytest.raises(SettingsError, match="CHATBOT_ORIGINS='\\*' cannot be used: an origin looks like"):
        Settings.from_environment({"CHATBOT_ORIGINS": "*"})


def test_an_impossible_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="CHATBOT_PORT='eighty'"):
        Settings.from_environment({"CHATBOT_PORT": "eighty"})


def test_learning_is_off_and_all_is_kept_unless_the_operator_says_otherwise() -> None:
    settings = Settings.from_environment({})
    assert (settings.learn, settings.keep_days) == (False, 0)
    settings = Settings.from_environment({"CHATBOT_LEARN": "true", "CHATBOT_KEEP_DAYS": "7"}, learn=False)
    assert (settings.learn, settings.keep_days) == (False, 7)
    with pytest.raises(SettingsError, match="CHATBOT_KEEP_DAYS='-1'"):
        Settings.from_environment({"CHATBOT_KEEP_DAYS": "-1"})


def test_the_database_file_is_where_it_was_named(tmp_path: Path) -> None:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/deep/er/chatbot.db"), EchoEngine())
    drain(app, 0)
    assert (tmp_path / "deep" / "er" / "chatbot.db").exists()
