"""OpenAI's interface: the official package against a real server, and what cannot be seen from outside."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from chatbot.history import open_history
from chatbot.keys import Keys
from chatbot.reply import CONTEXT_TURNS, EngineUnavailable, ReplyRequest
from tests.clients import ServerProcess, WireClient, echo_server
from tests.echo_engine import EchoEngine
from web.app import create_app, drain
from web.completions import until
from web.config import Settings
from web.rates import OverloadedError, Places

StartServer = Callable[..., ServerProcess]

HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = echo_server(f"sqlite:///{tmp_path_factory.mktemp('completions')}/chat.db", delay=0.01)
    yield server
    server.close()


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="anything", max_retries=0) as client:
        yield client


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine()


@pytest.fixture
def app(tmp_path: Path, engine: EchoEngine) -> Iterator[Flask]:
    app = create_app(Settings(database=f"sqlite:///{tmp_path}/chat.db", messages_per_minute=20), engine)
    yield app
    drain(app, 1)


@pytest.fixture
def caller(app: Flask) -> FlaskClient:
    return app.test_client()


def ask(caller: FlaskClient, messages: Any = HELLO, **more: Any) -> Any:
    return caller.post("/v1/chat/completions", json={"model": "live", "messages": messages} | more)


# The official package


def test_the_official_package_gets_a_reply_with_its_usage(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(model="live", messages=HELLO)
    [choice] = said.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "You said: Hello there")
    assert (said.object, said.model, choice.finish_reason) == ("chat.completion", "echo", "stop")
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens) == (2, 5, 7)


def test_the_official_package_streams_a_reply_word_by_word(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="live", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    *said, counted = chunks
    assert [chunk.choices[0].delta.content for chunk in said] == ["", "You", " said:", " Hello", " there", None]
    assert [chunk.choices[0].finish_reason for chunk in said] == [None] * 5 + ["stop"]
    assert said[0].choices[0].delta.role == "assistant"
    assert {chunk.id for chunk in chunks} == {counted.id}
    assert (counted.choices, counted.usage.total_tokens) == ([], 7)


def test_usage_is_streamed_only_where_it_is_asked_for(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="live", messages=HELLO, stream=True) as stream:
        assert all(chunk.usage is None and chunk.choices for chunk in stream)


def test_the_official_package_lists_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["live", "echo"]
    assert client.models.retrieve("live").owned_by == "hred-chatbot"
    with pytest.raises(openai.NotFoundError, match="gpt-4"):
        client.models.retrieve("gpt-4")


def test_the_official_package_knows_the_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="n: Input should be less than or equal to 1"):
        client.chat.completions.create(model="live", messages=HELLO, n=2)
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="live", messages=[{"role": "user", "content": "a" * 4001}])
    assert (refused.value.status_code, refused.value.code) == (413, "context_length_exceeded")


def test_a_reply_that_fails_is_an_error_whole_and_streamed(client: openai.OpenAI) -> None:
    failing = [{"role": "user", "content": "please fail"}]
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="live", messages=failing, seed=1)
    with (
        client.chat.completions.create(model="live", messages=failing, stream=True, seed=2) as stream,
        pytest.raises(openai.APIError, match="Something went wrong"),
    ):
        list(stream)


def test_a_client_that_goes_away_stops_its_reply(tmp_path: Path) -> None:
    """One address has room for sixteen, and each of these would take an hour."""
    server = echo_server(f"sqlite:///{tmp_path}/chat.db", delay=1200.0)
    try:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=1) as client:
            whole = [asking(server, stream=False) for _ in range(8)]
            streamed = [asking(server, stream=True) for _ in range(8)]
            assert comes_true(lambda: is_full(client))
            hang_up(whole)
            assert comes_true(lambda: not is_full(client))
            more: list[socket.socket] = []
            # One at a time, for the last question whether it is full may still be in a place that one of these wants.
            assert comes_true(lambda: is_full(client) or more.append(asking(server, stream=False)))
            hang_up(streamed)
            assert comes_true(lambda: not is_full(client))
            hang_up(more)
    finally:
        server.close()


def test_a_reply_that_takes_its_time_is_waited_for(tmp_path: Path) -> None:
    server = echo_server(f"sqlite:///{tmp_path}/chat.db", delay=0.4)  # seconds a word; the line is looked at meanwhile
    try:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=30) as client:
            answer = client.chat.completions.create(model="live", messages=HELLO)
        assert answer.choices[0].message.content == "You said: Hello there"
    finally:
        server.close()


def asking(server: ServerProcess, stream: bool) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"model": "live", "messages": HELLO, "stream": stream})
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    line = socket.create_connection((host, int(port)))
    line.sendall(f"{head}{len(body)}\r\n\r\n{body}".encode())
    return line


def hang_up(lines: list[socket.socket]) -> None:
    for line in lines:
        line.close()


def is_full(client: openai.OpenAI) -> bool:
    try:
        client.chat.completions.create(model="live", messages=HELLO)
    except openai.APITimeoutError:
        return False
    except openai.InternalServerError:
        return True
    raise AssertionError("an hour has passed")


def comes_true(holds: Callable[[], bool]) -> bool:
    return any(holds() or time.sleep(0.1) for _ in range(100))


# Many at once

MANY = {"CHATBOT_PROXIES": "1", "CHATBOT_MESSAGES_PER_MINUTE": "100000", "CHATBOT_TOKENS_PER_MINUTE": "10000000"}


def ask_from(server: ServerProcess, address: str) -> requests.Response:
    """The head of a streamed answer, as a proxy asks for a client."""
    body = {"model": "live", "messages": HELLO, "stream": True}
    headers = {"X-Forwarded-For": address}
    return requests.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, stream=True, timeout=60)


def test_a_flood_of_completions_leaves_room_for_all_others(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db", delay=60.0, **MANY)
    with ThreadPoolExecutor(60) as pool:
        flood = list(pool.map(lambda _: ask_from(server, "192.0.2.1"), range(60)))
    assert Counter(answer.status_code for answer in flood) == {200: 16, 503: 44}
    for refused in (answer for answer in flood if answer.status_code == 503):
        assert refused.headers["Retry-After"] == "1"
        assert (refused.json()["error"]["type"], refused.json()["error"]["code"]) == ("server_error", "overloaded")
    others = [ask_from(server, f"192.0.2.{number}") for number in (2, 3, 4, 5)]
    assert {answer.status_code for answer in others} == {200}
    with WireClient(server.url) as client:
        assert all(client.send(client.create(), "Hello")["ok"] for _ in range(20))
    for answer in (*flood, *others):
        answer.close()


def test_a_flood_of_messages_leaves_room_for_all_others(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db", delay=60.0, CHATBOT_REPLIES="40", **MANY)
    with WireClient(server.url) as many, WireClient(server.url) as one:

        def flood(_: int) -> list[dict[str, Any]]:
            with WireClient(server.url, token=many.token) as tab:
                return [tab.send(tab.create(), "Hello") for _ in range(10)]

        with ThreadPoolExecutor(4) as pool:
            answers = [answer for found in pool.map(flood, range(4)) for answer in found]
        refusals = [answer["error"] for answer in answers if not answer["ok"]]
        assert len(refusals) == 20  # who has half of the places has as many as are left
        assert {(refusal["code"], refusal["retry_after_ms"]) for refusal in refusals} == {("overloaded", 1000)}
        assert one.send(one.create(), "Hello")["ok"]
        answer = ask_from(server, "192.0.2.1")
        assert answer.status_code == 200
        answer.close()


def test_who_talks_is_answered_while_others_ask_for_all_completions_they_can_get(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db", delay=0.05, CHATBOT_REPLIES="40", **MANY)
    seen: Counter[int] = Counter()
    enough = threading.Event()

    def flood(number: int) -> None:
        while not enough.is_set():
            with ask_from(server, f"192.0.2.{number % 4}") as answer:
                seen[answer.status_code] += bool(answer.content)

    with ThreadPoolExecutor(48) as pool, WireClient(server.url) as client:
        flooding = [pool.submit(flood, number) for number in range(48)]
        conversation = client.create()
        assert all(client.say(conversation, "Hello") == "You said: Hello" for _ in range(5))
        enough.set()
        for future in flooding:
            future.result()
    assert seen.keys() == {200, 503}


def test_trials_have_no_places_beside_those_of_replies(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(f"sqlite:///{tmp_path}/chat.db", delay=0.1, CHATBOT_REPLIES_PER_USER="1")
    with WireClient(server.url) as client:
        conversation = client.create()
        said = client.send(conversation, "Hi")
        client.reply_to(said)
        client.send(client.create(), "word " * 600)
        compared = client.call("reply.compare", conversation_id=conversation, reply_id=said["reply_id"])
        assert compared["error"]["code"] == "rate_limited"
        assert compared["error"]["retry_after_ms"] > 0


def test_a_user_is_given_one_share_whichever_way_they_ask(start_server: StartServer, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/chat.db"
    history = open_history(database)
    key = Keys(history).create("an app", ("chat",))
    server = start_server(database, delay=60.0, CHATBOT_REPLIES_PER_USER="2")
    with WireClient(server.url, key=key) as client:
        for _ in range(2):
            client.send(client.create(), "Hello")
        headers = {"Authorization": f"Bearer {client.token}"}
        body = {"model": "live", "messages": HELLO}
        refused = requests.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    history.engine.dispose()


def test_nobody_gets_another_place_who_has_as_many_as_are_left() -> None:
    places, got = Places(32), Counter[str]()
    with ExitStack() as held:
        for who in "abcdefg":
            with suppress(OverloadedError):
                while True:
                    held.enter_context(places.hold(who))
                    got[who] += 1
        assert got == {"a": 16, "b": 8, "c": 4, "d": 2, "e": 1, "f": 1}
    with places.hold("g"):  # all of them are free again
        pass


# What the engine is asked


def test_the_messages_are_the_context_and_system_messages_are_not(caller: FlaskClient, engine: EchoEngine) -> None:
    messages = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "How are"}, {"type": "text", "text": "you?"}]},
    ]
    answer = ask(caller, messages)
    assert engine.requests == [ReplyRequest("How are\nyou?", ("Hi", "Hello!"))]
    assert answer.json["usage"]["prompt_tokens"] == 7  # Hi, Hello, !, How, are, you, ?


def test_nothing_is_stored(caller: FlaskClient, app: Flask) -> None:
    ask(caller)
    assert app.extensions["conversations"].history.conversations() == []


def test_a_long_dialogue_is_let_in_and_its_last_turns_are_read(caller: FlaskClient, engine: EchoEngine) -> None:
    messages = [{"role": ("user", "assistant")[n % 2], "content": f"{n} " + "word " * 30} for n in range(2001)]
    assert ask(caller, messages).status_code == 200
    last = [str(n) for n in range(2000 - CONTEXT_TURNS, 2000)]
    assert [text.split()[0] for text in engine.requests[0].context] == last


def test_parameters_become_a_way_of_decoding(caller: FlaskClient, engine: EchoEngine) -> None:
    from chatbot.reply import DEFAULT

    ask(caller, temperature=0, max_tokens=2)
    ask(caller, temperature=0.5, top_p=0.9, seed=-1, max_completion_tokens=1000)
    ask(caller, max_tokens=7, frequency_penalty=1.0, user="somebody", anything={"else": 1})
    greedy, sampled, short = engine.requests
    assert greedy.decoding is not None
    assert sampled.decoding is not None
    assert short.decoding is not None
    assert (greedy.decoding.method, greedy.decoding.min_tokens, greedy.decoding.max_tokens) == ("greedy", 2, 2)
    assert (sampled.decoding.temperature, sampled.decoding.top_p, sampled.seed) == (0.5, 0.9, 2**64 - 1)
    assert (sampled.decoding.max_tokens, sampled.decoding.retrieved) == (DEFAULT.max_tokens, DEFAULT.retrieved)
    assert (short.decoding.max_tokens, short.decoding.retrieved) == (7, 0)


def test_a_reply_at_its_limit_says_so(caller: FlaskClient) -> None:
    assert ask(caller, max_tokens=5).json["choices"][0]["finish_reason"] == "length"
    assert ask(caller, max_tokens=6).json["choices"][0]["finish_reason"] == "stop"


def test_a_reply_ends_before_a_stop_sequence(caller: FlaskClient) -> None:
    assert ask(caller, stop=" there").json["choices"][0]["message"]["content"] == "You said: Hello"
    assert ask(caller, stop=["nowhere", "id: He"]).json["choices"][0]["message"]["content"] == "You sa"
    assert '"content":"You"' in ask(caller, stop="said", stream=True).text
    assert "sai" not in ask(caller, stop="said", stream=True).text


def test_what_may_begin_a_stop_is_held_back_until_it_is_known() -> None:
    assert list(until(["one t", "wo thr", "ee"], ["two four"])) == ["one ", "two thr", "ee"]
    assert list(until(["ab", "ab", "c"], ["abc"])) == ["ab"]
    assert list(until(["ab"], ["abc"])) == ["ab"]


class Counted(str):
    """A stop that counts how often it is compared."""

    compared = 0

    def startswith(self, *arguments: Any) -> bool:
        Counted.compared += 1
        return super().startswith(*arguments)


def test_a_long_stop_costs_no_more_than_a_short_one() -> None:
    assert "".join(until(["a", " word"], [Counted("x" * 240_000)])) == "a word"
    assert Counted.compared < 20


# Refusals


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": "live"}',
        b'{"model": "live", "messages": []}',
        b'{"model": "live", "messages": [{"role": "system", "content": "Hi"}]}',
        b'{"model": "live", "messages": [{"role": "user", "content": " "}]}',
        b'{"model": "live", "messages": [{"role": "user", "content": "\\u0000"}]}',
        b'{"model": "live", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "live", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}',
        b'{"model": "live", "messages": [{"role": "user", "content": "Hi"}], "temperature": 3}',
        b'{"model": "live", "messages": [{"role": "user", "content": "Hi"}], "logprobs": true}',
        b'{"model": "live", "messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json"}}',
        b'{"model": "live", "messages": [{"role": "user", "content": "Hi"}], "stop": ["1", "2", "3", "4", "5"]}',
        b'{"model": "live", "messages": [{"role": "user", "content": "Hi"}], "stop": "' + b"x" * 1_001 + b'"}',
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_answered_is_refused_in_openais_words(caller: FlaskClient, body: bytes) -> None:
    answer = caller.post("/v1/chat/completions", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json["error"].keys() == {"message", "type", "param", "code"}
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_a_body_beyond_the_limit_is_refused(caller: FlaskClient) -> None:
    messages = [{"role": "user", "content": "a" * 1000}] * 1100
    assert ask(caller, messages).status_code == 413


def test_too_many_messages_in_a_minute_are_refused_with_the_time_to_wait(caller: FlaskClient) -> None:
    for _ in range(20):
        assert ask(caller).status_code == 200
    refused = ask(caller)
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_an_engine_that_takes_no_more_is_overloaded(caller: FlaskClient, engine: EchoEngine) -> None:
    def refuse(*arguments: Any) -> None:
        raise EngineUnavailable("Too many replies are waiting; try again in a moment.")

    engine.submit = refuse  # type: ignore[method-assign]
    for _ in range(30):  # none of them keeps a place
        refused = ask(caller)
        if refused.status_code == 429:
            break
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")


def test_a_server_that_is_about_to_stop_says_so(caller: FlaskClient, app: Flask) -> None:
    app.extensions["conversations"].draining = True
    assert ask(caller).status_code == 503


def test_a_page_of_another_site_is_not_answered(tmp_path: Path, caller: FlaskClient) -> None:
    body = {"model": "live", "messages": HELLO}
    hostile = caller.post("/v1/chat/completions", json=body, headers={"Origin": "https://hostile.example"})
    assert hostile.status_code == 403
    assert "Access-Control-Allow-Origin" not in hostile.headers
    assert caller.post("/v1/chat/completions", json=body, headers={"Origin": "http://localhost"}).status_code == 200
    simple = caller.post("/v1/chat/completions", data=json.dumps(body), content_type="text/plain")
    assert simple.status_code == 400


def test_a_page_of_a_listed_site_is_answered(tmp_path: Path) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path}/other.db", origins=("https://app.example",))
    app = create_app(settings, EchoEngine())
    origin = {"Origin": "https://app.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = app.test_client().options("/v1/chat/completions", headers=origin | asked)
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    body = {"model": "live", "messages": HELLO}
    answer = app.test_client().post("/v1/chat/completions", json=body, headers=origin)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://app.example")
    drain(app, 1)
