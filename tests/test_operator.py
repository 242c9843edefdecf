"""The operator's page: who may see it, what it tells, and what it sets going."""

import fcntl
import json
import os
import re
import shutil
import signal
import stat
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect, sync_playwright
from sqlalchemy import text
from werkzeug.serving import make_server

from chatbot.history import FinishedReply, History, NotFoundError, Opinion
from chatbot.home import home
from chatbot.shelf import SHIPPED, identify, live_id, promote
from data.errors import UserError
from tests.clients import ServerProcess
from tests.echo_engine import EchoEngine
from tests.tiny_checkpoint import tiny_checkpoint
from web import retraining
from web.admin import SESSION_SECONDS, TRIES_PER_MINUTE, AdminTokenError, Sessions, admin_token, token_file
from web.app import create_app, drain
from web.config import Settings
from web.protocol import ProtocolError
from web.server import run

XSS = "<img src=x onerror='window.hacked = true'>"
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chatbot.db", message_characters=100), EchoEngine())
    yield app
    drain(app, 1)


@pytest.fixture
def stored(app: Flask) -> History:
    stored: History = app.extensions["conversations"].history
    return stored


@pytest.fixture
def stranger(app: Flask) -> FlaskClient:
    return app.test_client()


class Operator:
    """A browser that has signed in."""

    def __init__(self, browser: FlaskClient) -> None:
        self.browser = browser
        assert sign_in(browser, admin_token()).status_code == 303
        self.csrf = csrf_of(browser)

    def see(self, name: str) -> Any:
        answer = self.browser.get(f"/operator/api/{name}")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        return answer.json

    def do(self, name: str, **body: Any) -> tuple[int, Any]:
        answer = self.browser.post(f"/operator/api/{name}", json=body, headers={"X-CSRF-Token": self.csrf})
        return answer.status_code, answer.json

    def refused(self, name: str, **body: Any) -> tuple[int, str]:
        status, answer = self.do(name, **body)
        return status, answer["error"]["code"]


@pytest.fixture
def operator(app: Flask) -> Operator:
    return Operator(app.test_client())


def sign_in(browser: FlaskClient, token: str) -> Any:
    return browser.post("/operator/sign-in", data={"token": token})


def csrf_of(browser: FlaskClient) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"', browser.get("/operator").text)
    assert found
    return found[1]


def chat(history: History, *said: str, learn: bool = True, checkpoint: str = "echo") -> tuple[str, str, list[str]]:
    """A conversation in which each text is answered in capitals -> user, conversation, reply ids."""
    user, _ = history.add_user()
    conversation = history.create_conversation(user, learn=learn).id
    replies = []
    for one in said:
        accepted = history.add_message(user, conversation, str(uuid.uuid4()), one)
        history.finish_reply(conversation, accepted.reply_id, FinishedReply(one.upper(), "completed", checkpoint))
        replies.append(accepted.reply_id)
    return user, conversation, replies


def dislike(history: History, *said: str, learn: bool = True) -> tuple[str, str, str]:
    """A conversation whose last reply got thumbs down -> user, conversation, reply."""
    user, conversation, replies = chat(history, *said, learn=learn)
    history.set_feedback(user, conversation, replies[-1], -1, None)
    return user, conversation, replies[-1]


# The token


def test_the_token_is_made_once_and_is_its_owners_alone() -> None:
    token = admin_token()
    assert len(token) > 40
    assert admin_token() == token
    assert stat.S_IMODE(token_file().stat().st_mode) == 0o600
    assert [path.name for path in home().iterdir()] == ["admin-token"]


def test_servers_that_start_at_once_have_one_token() -> None:
    barrier, tokens = threading.Barrier(8), []

    def start() -> None:
        barrier.wait()
        tokens.append(admin_token())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8
    assert len(set(tokens)) == 1


@pytest.mark.parametrize("written", ["", "\n", "admin"])
def test_a_file_that_keeps_nobody_out_is_refused(written: str) -> None:
    home().mkdir()
    token_file().write_text(written)
    with pytest.raises(AdminTokenError, match=r"admin-token holds no token; delete it"):
        admin_token()


def test_serve_says_where_the_token_is_and_never_what_it_is(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chatbot.db")
    assert server.process.stdout
    assert server.process.stdout.readline() == (
        f"Operator's page at {server.url}/operator; its token is in {token_file()}\n"
    )
    server.process.terminate()
    said = server.process.communicate(timeout=60)[0] + server.errors()
    assert admin_token() not in said


def test_a_server_does_not_start_with_an_empty_token(tmp_path: Path) -> None:
    home().mkdir()
    token_file().touch()
    with pytest.raises(UserError, match="admin-token holds no token"):
        run(Settings(database=f"sqlite:///{tmp_path}/chatbot.db", port=0), EchoEngine)


# Signing in


def test_the_sign_in_form_comes_with_the_strict_policy_and_tells_nothing(stranger: FlaskClient) -> None:
    answer = stranger.get("/operator")
    assert answer.status_code == 200
    assert 'type="password"' in answer.text
    assert "csrf-token" not in answer.text
    assert "operator.js" not in answer.text
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_page_has_nothing_inline(operator: Operator) -> None:
    page = operator.browser.get("/operator").text
    for inline in ("<script>", "<style", " onclick=", " onload=", ' style="'):
        assert inline not in page


def test_the_session_is_a_cookie_that_no_script_and_no_other_site_gets(stranger: FlaskClient) -> None:
    answer = sign_in(stranger, f" {admin_token()}\n")
    cookie = answer.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/operator", f"Max-Age={SESSION_SECONDS}"):
        assert part in cookie
    assert admin_token() not in cookie
    assert "Secure" not in cookie
    secure = stranger.post("/operator/sign-in", data={"token": admin_token()}, base_url="https://chat.example")
    assert "Secure" in secure.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "wrong", "é☃", "\0", "a" * 100_000])
def test_a_wrong_token_opens_nothing(stranger: FlaskClient, token: str) -> None:
    answer = sign_in(stranger, token)
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (401, False)
    assert "That is not the token." in answer.text
    assert stranger.get("/operator/api/overview").status_code == 401


def test_the_token_in_an_address_or_a_header_opens_nothing(stranger: FlaskClient) -> None:
    token = admin_token()
    assert stranger.get(f"/operator/api/overview?token={token}").status_code == 401
    assert stranger.get("/operator/api/overview", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert stranger.post(f"/operator/sign-in?token={token}").status_code == 401


def test_tries_are_limited_even_for_the_right_token_and_by_address(stranger: FlaskClient) -> None:
    for _ in range(TRIES_PER_MINUTE):
        assert sign_in(stranger, "wrong").status_code == 401
    answer = sign_in(stranger, admin_token())
    assert (answer.status_code, "Too many tries; wait a minute." in answer.text) == (429, True)
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    answer = stranger.post("/operator/sign-in", data={"token": admin_token()}, environ_overrides=elsewhere)
    assert answer.status_code == 303


READS = ["overview", "dullness", "reviews", "judging", "judged", "runs", "models"]
CHANGES = ["sign-out", "better", "leave-out", "judge", "retrain", "stop", "promote", "rollback"]


def test_every_route_is_behind_the_token(app: Flask, stranger: FlaskClient) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/operator/api/")]
    assert {rule.rule.removeprefix("/operator/api/") for rule in rules} == {*READS, *CHANGES}
    stranger.set_cookie("operator", "made-up", path="/operator")
    for name in READS:
        answer = stranger.get(f"/operator/api/{name}")
        assert (answer.status_code, answer.json["error"]["code"]) == (401, "unauthenticated")
    for name in CHANGES:
        assert stranger.post(f"/operator/api/{name}", json={}).status_code == 401
        assert stranger.get(f"/operator/api/{name}").status_code == 405


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("csrf", ["", "wrong", "é"])
def test_a_change_needs_the_csrf_token(operator: Operator, name: str, csrf: str) -> None:
    answer = operator.browser.post(f"/operator/api/{name}", json={}, headers={"X-CSRF-Token": csrf})
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "forbidden")


def test_the_csrf_token_of_another_session_does_not_count(app: Flask, operator: Operator) -> None:
    operator.csrf = Operator(app.test_client()).csrf
    assert operator.refused("stop") == (403, "forbidden")


def test_a_session_that_was_signed_out_is_over_also_for_who_kept_its_cookie(app: Flask, operator: Operator) -> None:
    cookie = operator.browser.get_cookie("operator", path="/operator")
    assert cookie
    other = Operator(app.test_client())
    assert operator.do("sign-out") == (200, {"ok": True})
    thief = app.test_client()
    thief.set_cookie("operator", cookie.value, path="/operator")
    assert thief.get("/operator/api/overview").status_code == 401
    assert 'type="password"' in operator.browser.get("/operator").text
    assert other.see("runs")


def test_who_signed_in_at_one_worker_is_known_to_the_others_and_the_files_open_nothing(operator: Operator) -> None:
    cookie = operator.browser.get_cookie("operator", path="/operator")
    assert cookie
    assert Sessions(admin_token()).csrf_of(cookie.value) == operator.csrf
    (place,) = (home() / "operator-sessions").iterdir()
    assert (place.read_bytes(), place.stat().st_mode & 0o077) == (b"", 0)
    assert Sessions(admin_token()).csrf_of(place.name) is None
    assert Sessions("another token, made since").csrf_of(cookie.value) is None


def test_a_session_ends_after_a_while(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + SESSION_SECONDS
    monkeypatch.setattr("web.admin.time.time", lambda: later)
    assert operator.browser.get("/operator/api/runs").status_code == 401


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("better", {}),
        ("better", {"reply_id": "1", "better_text": "Yes"}),
        ("better", {"reply_id": str(uuid.uuid4()), "better_text": "  "}),
        ("better", {"reply_id": str(uuid.uuid4()), "better_text": "a\0b"}),
        ("better", {"reply_id": str(uuid.uuid4()), "better_text": "Yes", "rating": 1}),
        ("leave-out", {"reply_id": ["x"]}),
        ("retrain", {"promote": "yes"}),
        ("promote", {"checkpoint": 1}),
        ("stop", {"pid": 1}),
    ],
)
def test_a_body_that_does_not_fit_is_refused_by_its_field(operator: Operator, name: str, body: dict[str, Any]) -> None:
    assert operator.refused(name, **body) == (400, "invalid")


@pytest.mark.parametrize(("body", "status"), [("{", 400), ("", 400), ("[]", 400), ('"' + "a" * 70_000 + '"', 413)])
def test_a_body_that_is_no_object_or_too_large_is_refused(operator: Operator, body: str, status: int) -> None:
    answer = operator.browser.post("/operator/api/stop", data=body, headers={"X-CSRF-Token": operator.csrf})
    assert (answer.status_code, answer.json["ok"]) == (status, False)


# Traffic


def test_activity_is_counted_by_day_and_by_kind(history: History) -> None:
    user, conversation, (first, second) = chat(history, "one", "two", learn=False)
    history.set_feedback(user, conversation, first, 1, None)
    history.set_feedback(user, conversation, second, -1, "Better")
    before = datetime.now(UTC) - timedelta(hours=1)
    found = history.activity(before)
    assert {name: sum(day[name] for day in found.values()) for name in next(iter(found.values()))} == {
        "conversations": 1, "turns": 4, "thumbs_up": 1, "thumbs_down": 1, "bettered": 1
    }  # fmt: skip
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in found)
    assert history.activity(datetime.now(UTC) + timedelta(hours=1)) == {}


def test_days_are_those_of_utc(history: History) -> None:
    chat(history, "late", learn=False)
    with history.engine.begin() as connection:
        moment = {"at": "2031-12-24 23:59:59.000000"} if history.engine.dialect.name == "sqlite" else {
            "at": datetime(2031, 12, 24, 23, 59, 59, tzinfo=UTC)
        }  # fmt: skip
        connection.execute(text("UPDATE turns SET created_at = :at"), moment)
    assert history.activity(datetime(2031, 12, 1, tzinfo=UTC))["2031-12-24"]["turns"] == 2


def test_opinions_are_told_apart_by_checkpoint(history: History) -> None:
    user, conversation, replies = chat(history, "one", "two", "three", checkpoint="old")
    for reply, rating, better in zip(replies, (1, -1, -1), (None, None, "Better"), strict=True):
        history.set_feedback(user, conversation, reply, rating, better)
    chat(history, "four", checkpoint="new")
    assert history.opinions(LONG_AGO) == [Opinion("new", 1), Opinion("old", 3, 1, 2, 1)]
    assert history.opinions(datetime.now(UTC) + timedelta(hours=1)) == []


def test_recent_turns_are_the_last_ones_oldest_first(history: History) -> None:
    chat(history, "one", "two")
    assert [turn.text for turn in history.recent_turns(LONG_AGO, 3)] == ["ONE", "two", "TWO"]
    assert history.recent_turns(datetime.now(UTC) + timedelta(hours=1), 3) == []


def test_the_overview_has_each_of_thirty_days(stored: History, operator: Operator) -> None:
    chat(stored, "hello", "hello")
    overview = operator.see("overview")
    days = overview["days"]
    assert len(days) == len({day["day"] for day in days}) == 30
    assert sum(day["turns"] for day in days) == 4
    assert [one["checkpoint"] for one in overview["checkpoints"]] == ["echo"]


def test_the_dullness_board_is_of_live_replies_by_checkpoint(stored: History, operator: Operator) -> None:
    chat(stored, "hello", "hello", "xyzzy", "i don't know", learn=False)
    chat(stored, "../../etc", checkpoint="../../etc")
    day, week = operator.see("dullness")["windows"]
    assert (day["window"], week["window"]) == ("24 hours", "7 days")
    assert day["checkpoints"] == week["checkpoints"]
    echo, other = day["checkpoints"]
    assert echo == {
        "checkpoint": "echo", "replies": 4, "repeated": 0.25, "dull": 0.25, "retrieved": 0.0, "words": 1.5,
        "unknown": pytest.approx(4 / 6),
    }  # fmt: skip
    assert (other["checkpoint"], other["unknown"]) == ("../../etc", None)


# Reviews


def test_only_what_its_owner_lets_be_learned_from_is_shown(history: History) -> None:
    _, _, reply = dislike(history, "may be read")
    dislike(history, "secret", learn=False)
    assert [review.reply_id for review in history.reviews(10)] == [reply]
    assert history.count_reviews() == {True: 1, False: 1}


def test_a_review_brings_what_was_said_before_it_and_the_last_opinion_first(history: History) -> None:
    _, _, first = dislike(history, "one")
    _, _, second = dislike(history, "one", "two", "three", "four")
    later, earlier = history.reviews(10)
    assert (later.reply_id, earlier.reply_id) == (second, first)
    assert later.context == (("user", "two"), ("bot", "TWO"), ("user", "three"), ("bot", "THREE"), ("user", "four"))
    assert later.text == "FOUR"
    assert [review.reply_id for review in history.reviews(1)] == [second]


def test_what_is_liked_bettered_or_off_the_branch_is_not_to_be_reviewed(history: History) -> None:
    user, conversation, (liked, bettered) = chat(history, "one", "two")
    history.set_feedback(user, conversation, liked, 1, None)
    history.set_feedback(user, conversation, bettered, -1, "Better")
    user, conversation, replaced = dislike(history, "three")
    assert [review.reply_id for review in history.reviews(10)] == [replaced]
    again = history.regenerate_reply(user, conversation, replaced)
    history.finish_reply(conversation, again.reply_id, FinishedReply("other", "completed", "echo"))
    assert history.reviews(10) == []
    assert history.count_reviews() == {True: 0, False: 0}
    with pytest.raises(NotFoundError, match="not to be reviewed any more"):
        history.review_of(replaced)


def test_a_better_reply_is_what_the_next_retraining_learns(stored: History, operator: Operator) -> None:
    _, _, reply = dislike(stored, "hello")
    [review] = operator.see("reviews")["reviews"]
    assert (review["reply_id"], review["text"], review["context"]) == (
        reply, "HELLO", [{"speaker": "user", "text": "hello"}],
    )  # fmt: skip
    assert operator.do("better", reply_id=reply, better_text=f" {XSS} ") == (200, {"ok": True})
    [lesson] = stored.lessons()
    assert (lesson.turns[-1].rating, lesson.turns[-1].better_text) == (-1, XSS)
    assert operator.see("reviews") == {"reviews": [], "to_review": 0, "private": 0}
    assert operator.refused("better", reply_id=reply, better_text="Again") == (404, "not_found")


def test_what_is_left_out_is_neither_learned_nor_trained_against(stored: History, operator: Operator) -> None:
    _, _, reply = dislike(stored, "hello")
    assert operator.do("leave-out", reply_id=reply)[0] == 200
    [lesson] = stored.lessons()
    assert (lesson.turns[-1].rating, lesson.turns[-1].better_text) == (0, None)
    assert operator.see("reviews")["to_review"] == 0


def test_a_conversation_that_is_not_learned_from_is_out_of_the_operators_reach(
    stored: History, operator: Operator
) -> None:
    user, conversation, reply = dislike(stored, "secret")
    stored.set_learning(user, conversation, False)
    assert operator.see("reviews") == {"reviews": [], "to_review": 0, "private": 1}
    assert operator.refused("better", reply_id=reply, better_text="Yes") == (404, "not_found")
    assert operator.refused("leave-out", reply_id=reply) == (404, "not_found")
    for name in READS:
        assert "secret" not in json.dumps(operator.see(name)).lower()


def test_a_better_reply_is_no_longer_than_a_message(stored: History, operator: Operator) -> None:
    _, _, reply = dislike(stored, "hello")
    assert operator.refused("better", reply_id=reply, better_text="a" * 101) == (413, "too_large")


# Retraining


CHILD = """
import json, os, signal, sys, time
place = {place!r}
def stop(number, frame):
    print("Stopped; what was done is kept.", file=sys.stderr)
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
facts = {{"pid": os.getpid(), "group": os.getpgrp(), "session": os.getsid(0), "nice": os.nice(0),
    "database": os.environ["CHATBOT_DATABASE"], "arguments": sys.argv[1:]}}
with open(place + ".part", "w") as file:
    json.dump(facts, file)
os.rename(place + ".part", place)
{body}
"""


class FakeChild:
    """Stands in for `chatbot retrain`; it sleeps, unless it is told what it does."""

    def __init__(self, folder: Path) -> None:
        self._script, self._place = folder / "child.py", folder / "facts.json"
        self.does("time.sleep(60)")

    def does(self, body: str) -> None:
        self._script.write_text(CHILD.format(place=str(self._place), body=body))

    def command(self, promote: bool) -> list[str]:
        return [sys.executable, str(self._script), *(["--promote"] if promote else [])]

    def facts(self) -> dict[str, Any]:
        """What it saw, once it listens to Ctrl-C."""
        give_up = time.monotonic() + 30
        while not self._place.exists():
            assert time.monotonic() < give_up
            time.sleep(0.01)
        facts: dict[str, Any] = json.loads(self._place.read_text())
        return facts


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeChild]:
    fake = FakeChild(tmp_path)
    monkeypatch.setattr(retraining, "command", fake.command)
    yield fake
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(json.loads((tmp_path / "facts.json").read_text())["pid"], signal.SIGKILL)


def child_of(operator: Operator, *states: str) -> dict[str, Any]:
    """What is told of the child once it is in one of these states."""
    give_up = time.monotonic() + 30
    while (found := operator.see("runs")["child"])["state"] not in states:
        assert time.monotonic() < give_up, found
        time.sleep(0.02)
    return dict(found)


def test_the_command_is_that_of_the_same_installation() -> None:
    script, *arguments = retraining.command(promote=True)
    assert Path(script).is_file()
    assert Path(script).parent == Path(sys.executable).parent
    assert arguments == ["retrain", "--promote"]
    assert retraining.command(promote=False)[1:] == ["retrain"]


def test_a_retraining_runs_beside_the_server_and_yields_to_it(
    operator: Operator, child: FakeChild, tmp_path: Path
) -> None:
    assert operator.see("runs") == {"runs": [], "child": {"state": "none", "message": ""}}
    assert operator.do("retrain", promote=True) == (200, {"ok": True})
    facts = child.facts()
    assert facts["database"] == f"sqlite:///{tmp_path}/chatbot.db"
    assert facts["arguments"] == ["--promote"]
    assert facts["session"] == facts["group"] == facts["pid"] != os.getpgrp()
    assert facts["nice"] == min(19, os.nice(0) + 10)
    assert operator.see("runs")["child"]["state"] == "running"


def test_a_second_retraining_is_refused_and_stop_ends_the_first(operator: Operator, child: FakeChild) -> None:
    assert operator.refused("stop") == (404, "not_found")
    operator.do("retrain", promote=False)
    child.facts()
    status, answer = operator.do("retrain", promote=False)
    assert (status, answer["error"]["code"]) == (409, "busy")
    assert answer["error"]["message"] == "A retraining is going on already; wait for it, or stop it first."
    assert operator.do("stop")[0] == 200
    assert child_of(operator, "stopped", "failed", "ended") == {"state": "stopped", "message": ""}
    assert operator.refused("stop") == (404, "not_found")
    child.does("")
    assert operator.do("retrain", promote=False)[0] == 200
    assert child_of(operator, "ended", "failed")["state"] == "ended"


def test_a_retraining_is_stopped_at_whichever_worker_and_by_no_other_server(
    operator: Operator, child: FakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.do("retrain", promote=False)
    child.facts()
    another = retraining.Retraining("")
    with monkeypatch.context() as patched:
        patched.setattr(os, "getppid", lambda: 1)
        assert another.describe()["state"] == "elsewhere"
        with pytest.raises(ProtocolError, match="where it was started"):
            another.stop()
    assert another.describe()["state"] == "running"
    with pytest.raises(ProtocolError, match="going on already"):
        another.start(False)
    another.stop()
    assert child_of(operator, "stopped", "failed", "ended")["state"] == "stopped"
    assert another.describe()["state"] == "stopped"


def test_a_child_that_fails_is_shown_with_its_last_line(operator: Operator, child: FakeChild) -> None:
    child.does("print('at work'); sys.exit('beginning\\n\\x1b[31mError: Too little to learn from.\\x1b[0m\\n \\n')")
    operator.do("retrain", promote=False)
    assert child_of(operator, "failed", "ended") == {"state": "failed", "message": "Error: Too little to learn from."}
    assert (home() / "retrain" / "child.log").read_text() == "at work\n"
    assert {path.name for path in (home() / "retrain").iterdir()} == {"child.log", ".lock", ".child"}
    child.does("os.kill(os.getpid(), signal.SIGKILL)")
    operator.do("retrain", promote=False)
    assert child_of(operator, "failed")["message"] == "It was ended by SIGKILL."


def test_somebody_elses_retraining_is_not_disturbed(operator: Operator, child: FakeChild) -> None:
    (home() / "retrain").mkdir()
    with (home() / "retrain" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert operator.refused("retrain", promote=False) == (409, "busy")
        assert operator.see("runs")["child"] == {"state": "elsewhere", "message": ""}
        assert operator.refused("stop") == (404, "not_found")
    assert operator.do("retrain", promote=False)[0] == 200


def test_a_run_that_nobody_is_at_was_interrupted(stored: History, operator: Operator) -> None:
    stored.begin_run("one", "parent")
    assert operator.see("runs")["runs"][0]["status"] == "interrupted"
    (home() / "retrain").mkdir()
    with (home() / "retrain" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert operator.see("runs")["runs"][0]["status"] == "running"


def test_a_retraining_goes_on_when_the_server_ends(app: Flask, operator: Operator, child: FakeChild) -> None:
    operator.do("retrain", promote=False)
    pid = child.facts()["pid"]
    drain(app, 0)
    os.kill(pid, 0)


def test_the_real_command_is_found_and_says_what_is_wrong(operator: Operator) -> None:
    (home() / "checkpoints").mkdir()
    (home() / "checkpoints" / "live").symlink_to("gone")
    operator.do("retrain", promote=False)
    found = child_of(operator, "failed", "ended", "stopped")
    assert found["state"] == "failed"
    assert found["message"].startswith("Error: There is no checkpoint in ")


def test_runs_are_told_as_they_stand_in_the_database(stored: History, operator: Operator) -> None:
    stored.begin_run("one", "parent")
    (home() / "retrain").mkdir()
    lock = (home() / "retrain" / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # as who is at it does
    progress = {"step": 3, "target_tokens": 50, "of": 200, "seconds": 1.5, "curve": []}
    stored.update_run("one", progress=progress)
    [run] = operator.see("runs")["runs"]
    assert (run["status"], run["parent"], run["checkpoint"], run["progress"]) == ("running", "parent", None, progress)
    lock.close()
    report = {"gate": {"passed": False, "faults": ["Worse."], "figures": {}}}
    stored.update_run("one", status="rejected", checkpoint="new", report=report)
    [run] = operator.see("runs")["runs"]
    assert (run["status"], run["checkpoint"], run["report"]) == ("rejected", "new", report)


# Models


@pytest.fixture
def candidate(stored: History) -> str:
    """A checkpoint that a retraining left, which the gate rejected."""
    made = tiny_checkpoint(home() / "retrain" / "run" / "checkpoint")
    stored.begin_run("run", identify(SHIPPED))
    stored.update_run("run", status="rejected", checkpoint=made.id)
    return made.id


def test_what_a_retraining_left_can_be_promoted_and_rolled_back(operator: Operator, candidate: str) -> None:
    shipped = identify(SHIPPED)
    models = operator.see("models")
    assert (models["answering"], models["live"], models["promotions"]) == ("echo", shipped, [])
    listed = {one.pop("checkpoint"): one for one in models["checkpoints"]}
    assert listed == {
        shipped: {"shipped": True, "promoted_at": None, "verdict": None, "parent": None},
        candidate: {"shipped": False, "promoted_at": None, "verdict": "rejected", "parent": shipped},
    }
    assert operator.do("promote", checkpoint=candidate) == (200, {"ok": True})
    assert live_id() == candidate
    models = operator.see("models")
    assert (models["live"], models["checkpoints"][0]["checkpoint"]) == (candidate, candidate)
    assert operator.do("rollback") == (200, {"ok": True})
    made = [(one["checkpoint"], one["before"], one["rollback"]) for one in operator.see("models")["promotions"]]
    assert made == [(shipped, candidate, True), (candidate, shipped, False)]
    assert live_id() == shipped
    status, answer = operator.do("rollback")
    assert (status, answer["error"]["code"]) == (400, "invalid")
    assert "No other checkpoint was live before" in answer["error"]["message"]


@pytest.mark.parametrize(
    "named", ["", "default", "live", "..", "../retrain/run/checkpoint", "/etc", "hred-000000000000"]
)
def test_only_a_checkpoint_that_is_listed_can_be_promoted(operator: Operator, candidate: str, named: str) -> None:
    assert operator.refused("promote", checkpoint=named) == (404, "not_found")
    assert live_id() == identify(SHIPPED)


def test_a_broken_checkpoint_is_refused_and_the_live_one_stays(operator: Operator, candidate: str) -> None:
    (home() / "retrain" / "run" / "checkpoint" / "config.json").write_text("{")
    status, answer = operator.do("promote", checkpoint=candidate)
    assert (status, answer["error"]["code"]) == (400, "invalid")
    assert "damaged" in answer["error"]["message"]
    assert live_id() == identify(SHIPPED)


def test_the_words_of_an_earlier_checkpoint_are_those_of_its_own_vocabulary(
    stored: History, operator: Operator, candidate: str
) -> None:
    promote(home() / "retrain" / "run" / "checkpoint")
    chat(stored, "zyxzyx", checkpoint=candidate)
    [one] = operator.see("dullness")["windows"][0]["checkpoints"]
    assert one["unknown"] == 1


# The page itself


@pytest.fixture
def page(app: Flask) -> Iterator[Page]:
    """A phone's browser at the page."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert path, "Chromium is needed for the page's tests: install it with 'sudo apt-get install chromium'."
    with sync_playwright() as playwright:
        expect.set_options(timeout=15_000)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(
            viewport={"width": 390, "height": 844}, base_url=f"http://127.0.0.1:{server.port}"
        )
        errors: list[str] = []
        context.on("weberror", lambda error: errors.append(str(error.error)))
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto("/operator")
        yield page
        browser.close()
    server.shutdown()
    assert [error for error in errors if "401" not in error] == []


def enter(page: Page, token: str) -> None:
    page.get_by_label("The admin token").fill(token)
    page.get_by_label("The admin token").press("Enter")


def test_an_operator_signs_in_sees_the_boards_and_betters_a_reply(page: Page, stored: History) -> None:
    dislike(stored, "hello", XSS)
    dislike(stored, "first in the queue")
    dislike(stored, "secret", learn=False)
    enter(page, "wrong")
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    enter(page, admin_token())
    expect(page.get_by_role("img", name=re.compile("^Turns, the last 30 days: 8;"))).to_be_visible()
    expect(page.get_by_role("region", name="Feedback by checkpoint").get_by_role("row").nth(1)).to_contain_text("echo")
    expect(page.get_by_role("region", name="Dullness, the last 24 hours").get_by_role("row")).to_have_count(2)
    expect(page.get_by_text("2 to review. 1 more in conversations that are not to be learned from")).to_be_visible()
    expect(page.get_by_text("secret")).to_have_count(0)
    queue = page.locator("#queue").get_by_role("listitem")
    expect(queue.nth(1)).to_contain_text(f"Person: {XSS}")
    expect(queue.nth(1)).to_contain_text(f"Robin: {XSS.upper()}")
    expect(page).to_have_title("Robin: operating")
    queue.nth(1).get_by_label("A better reply").fill("being written")
    queue.first.get_by_label("A better reply").fill("A good one")
    queue.first.get_by_role("button", name="Save").press("Enter")
    expect(queue).to_have_count(1)
    expect(queue.get_by_label("A better reply")).to_have_value("being written")
    queue.get_by_role("button", name="Leave out").click()
    expect(page.get_by_text("Nothing to review.")).to_be_visible()
    given = [turn.better_text for lesson in stored.lessons() for turn in lesson.turns if turn.better_text]
    assert given == ["A good one"]
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("The admin token")).to_be_visible()


def test_an_operator_watches_a_retraining_stops_it_and_promotes_what_came_of_it(
    page: Page, stored: History, child: FakeChild, candidate: str
) -> None:
    enter(page, admin_token())
    page.get_by_label("Promote if it passes").check()
    page.get_by_role("button", name="Retrain now").click()
    expect(page.get_by_text("Retraining …")).to_be_visible()
    assert child.facts()["arguments"] == ["--promote"]
    expect(page.get_by_role("button", name="Retrain now")).to_be_disabled()
    stored.begin_run("now", "parent")
    rows = [{"target_tokens": seen, "perplexity": 90 - seen / 2, "training_loss": 4.0} for seen in (10, 20, 30)]
    stored.update_run("now", progress={"step": 3, "target_tokens": 30, "of": 40, "seconds": 2, "curve": rows})
    expect(page.get_by_role("img", name="Perplexity, held out, from 85.00 to 75.00")).to_be_visible()
    expect(page.locator("#runs tbody tr").first).to_contain_text("75 %")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped; “Retrain now” goes on with it.")).to_be_visible()
    expect(page.locator("#runs tbody tr").first).to_contain_text("interrupted")
    expect(page.locator("#child")).to_contain_text("The last one was interrupted")
    page.get_by_role("button", name=f"Promote {candidate}").click()
    expect(page.get_by_role("dialog")).to_contain_text("The gate did not let it pass")
    page.get_by_role("dialog").get_by_role("button", name="Promote").click()
    expect(page.get_by_text(f"{candidate} is live; echo answers here")).to_be_visible()
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    assert live_id() == candidate
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("region", name="Promotions")).to_contain_text("rolled back from")
    assert live_id() == identify(SHIPPED)
