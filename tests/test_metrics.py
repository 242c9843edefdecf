"""What Prometheus reads: the figures are right, of all workers, and nobody else's to read."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from chatbot.reply import Reply, ReplyRequest
from tests.clients import ROOT, ServerProcess, WireClient
from tests.echo_engine import EchoEngine
from web.admin import admin_token
from web.app import create_app, drain
from web.config import Settings
from web.metrics import Asked, MeasuredEngine, Metrics

Figures = dict[tuple[str, ...], float]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chat.db"), EchoEngine())
    yield app
    drain(app, 1)


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return app.test_client()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def figures(text: str) -> Figures:
    """(name, label values in the order of the labels' names) -> value, of all but the buckets of histograms."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for sample in samples
        if "le" not in sample.labels
    }


def read(server: ServerProcess) -> Figures:
    answer = requests.get(f"{server.url}/metrics", headers=bearer(admin_token()), timeout=30)
    assert answer.status_code == 200
    return figures(answer.text)


def wait_for(server: ServerProcess, done: Callable[[Figures], bool]) -> Figures:
    deadline = time.monotonic() + 60
    while not done(found := read(server)):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_only_the_operators_token_opens_the_figures_and_it_cannot_be_guessed(browser: FlaskClient) -> None:
    assert browser.get("/metrics").json["error"]["code"] == "unauthenticated"
    assert browser.get(f"/metrics?token={admin_token()}").status_code == 401
    for _ in range(8):
        assert browser.get("/metrics", headers=bearer("wrong")).status_code == 401
    for _ in range(12):  # as often as one likes
        assert (
            browser.get("/metrics", headers=bearer(admin_token()), environ_base={"REMOTE_ADDR": "::1"}).status_code
            == 200
        )
    assert browser.get("/metrics", headers=bearer(admin_token())).status_code == 429


def test_requests_are_counted_by_route_and_never_by_what_was_sent(browser: FlaskClient) -> None:
    browser.get("/healthz")
    browser.get("/api/conversations/1b0c9c8c-0000-4000-8000-000000000000/export")
    browser.open("/secret-place", method="SECRET")
    text = browser.get("/metrics", headers=bearer(admin_token())).text
    found = figures(text)
    assert found["chatbot_http_requests_total", "GET /healthz", "200"] == 1
    assert found["chatbot_http_requests_total", "GET /api/conversations/<uuid:conversation_id>/export", "401"] == 1
    assert found["chatbot_http_requests_total", "none", "404"] == 1
    assert "SECRET" not in text
    assert "secret" not in text


def test_what_clients_do_is_counted_and_no_name_of_theirs_is_taken_over(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db")
    with WireClient(server.url) as client:
        conversation = client.create()
        client.say(conversation, "Hello there")
        client.say(conversation, "I have no idea")
        assert not client.call("message.send", conversation_id="nonsense")["ok"]
        assert not client.call("an event of theirs")["ok"]
        found = wait_for(server, lambda found: found.get(("chatbot_replies_total", "echo", "completed")) == 2)
        assert found["chatbot_connections",] == 1
    assert found["chatbot_events_total", "ok", "connect"] == 1
    assert found["chatbot_events_total", "ok", "message.send"] == 2
    assert found["chatbot_events_total", "invalid", "message.send"] == 1
    assert found["chatbot_events_total", "invalid", "unknown"] == 1
    assert found["chatbot_event_seconds_count", "message.send"] == 3
    assert found["chatbot_reply_words_total",] == 10  # "You said: Hello there", and the other
    assert found["chatbot_first_words_seconds_count",] == found["chatbot_reply_seconds_count",] == 2
    assert found["chatbot_waited_seconds_count",] == found["chatbot_batch_replies_count",] == 2
    assert (found["chatbot_replies_dull_total",], found["chatbot_replies_repeated_total",]) == (1, 0)
    assert (found["chatbot_replies_under_way",], found["chatbot_checkpoint_workers", "echo"]) == (0, 1)
    assert not any("theirs" in label for key in found for label in key)
    assert wait_for(server, lambda found: found["chatbot_connections",] == 0)


def test_any_worker_tells_the_figures_of_all_and_what_a_dead_one_counted(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db", CHATBOT_WORKERS="2")
    sent = ("chatbot_events_total", "ok", "message.send")
    for _ in range(4):
        with WireClient(server.url) as client:
            client.say(client.create(), "Hello")
    wait_for(server, lambda found: found["chatbot_checkpoint_workers", "echo"] == 2)
    assert {read(server)[sent] for _ in range(4)} == {4}
    os.kill(server.workers[0], signal.SIGKILL)
    found = wait_for(server, lambda found: found["chatbot_checkpoint_workers", "echo"] == 2)
    assert (found[sent], found["chatbot_connections",]) == (4, 0)


def counted(text: str, context: tuple[str, ...] = (), is_retrieved: bool = False) -> Figures:
    metrics = Metrics()
    reply = Reply(text, "completed", "first", is_retrieved=is_retrieved)
    metrics.count_reply(Asked(ReplyRequest("Hm?", context)), reply, 0.1)
    return figures(metrics.text().decode())


def test_a_dull_a_repeated_and_a_retrieved_reply_are_counted_as_such() -> None:
    names = ("chatbot_replies_dull_total", "chatbot_replies_repeated_total", "chatbot_replies_retrieved_total")

    def of(found: Figures) -> list[float]:
        return [found[name,] for name in names]

    assert of(counted("Well, I do not know!")) == [1, 0, 0]
    assert of(counted("Fine, thanks.", ("Fine thanks", "And you?"))) == [0, 1, 0]
    assert of(counted("Fine, thanks, and you?", ("Fine thanks",), is_retrieved=True)) == [0, 0, 1]
    assert of(counted("")) == [0, 0, 0]


def test_a_fixed_answer_is_counted_by_its_category_and_as_no_words_of_the_checkpoint() -> None:
    metrics = Metrics()
    reply = Reply("I do not know.", "completed", "first", guarded="suicide")
    metrics.count_reply(Asked(ReplyRequest("Hm?", ("I do not know.",))), reply, 0.1)
    found = figures(metrics.text().decode())
    assert found["chatbot_replies_guarded_total", "suicide"] == 1
    assert found["chatbot_replies_total", "first", "completed"] == 1
    assert found["chatbot_replies_dull_total",] == found["chatbot_replies_repeated_total",] == 0


def test_a_reply_that_the_engine_does_not_take_is_not_under_way() -> None:
    class Full(EchoEngine):
        def submit(self, *asked: object) -> None:  # type: ignore[override]
            raise RuntimeError("full")

    metrics = Metrics()
    with pytest.raises(RuntimeError):
        MeasuredEngine(Full(), metrics).submit(ReplyRequest("Hm?"), lambda text: None, lambda reply: None)
    assert figures(metrics.text().decode())["chatbot_replies_under_way",] == 0


def test_the_dashboard_asks_for_figures_that_there_are() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    families = text_string_to_metric_families(Metrics().text().decode())
    names = {family.name for family in families if not family.name.endswith("_created")}
    suffixes = ("", "_total", "_count", "_sum", "_bucket")
    known = {f"{name}{suffix}" for name in names for suffix in suffixes}
    used = {
        word
        for word in asked.replace("(", " ").replace("[", " ").replace("{", " ").replace(")", " ").split()
        if word.startswith("chatbot_")
    }
    assert used <= known
    for name in names:
        assert name in asked
