"""The Python client: against real servers, one of which is killed in mid-reply."""

import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatbot.client import ChatClient, ChatError, Found, Stream, Word, _Text
from tests.running_server import RunningServer
from web.protocol import FROM_CLIENT

ROOT = Path(__file__).parent.parent
LONG = " ".join(["word"] * 60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("client"), messages_per_minute=1000)
    yield server
    server.kill()


def test_importing_the_client_loads_no_model() -> None:
    listing = "import sys, chatbot.client; print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(printed.stdout.split())
    assert "socketio" in loaded
    assert not {"torch", "numpy", "flask", "sqlalchemy", "pydantic"} & loaded


def test_the_example_holds_a_conversation(server: RunningServer) -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "web" / "examples" / "chat.py", server.url, "Hi!", "Good night"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    expected = ["you: Hi!", "bot: You said: Hi!", "you: Good night", "bot: You said: Good night"]
    assert said.stdout.splitlines() == expected, said.stderr


def test_a_reply_is_streamed_and_kept(server: RunningServer) -> None:
    with ChatClient(server.url) as chat:
        conversation = chat.create("A first one")
        stream = chat.stream(conversation, LONG)
        assert "".join(stream) == f"You said: {LONG}"
        assert stream.reply is not None
        assert (stream.reply.text, stream.reply.status) == (f"You said: {LONG}", "completed")
        [kept] = chat.conversations()
        assert (kept.conversation_id, kept.title, kept.last_seq) == (conversation, "A first one", 3)
        types = [event["type"] for event in chat.sync(conversation)]
        assert types == ["message.created", "reply.started", "reply.completed"]


def test_the_same_message_again_says_nothing_twice(server: RunningServer) -> None:
    with ChatClient(server.url) as chat:
        conversation, once = chat.create(), str(uuid.uuid4())
        first, second = (chat.send(conversation, "Hello", once) for _ in range(2))
        assert first == second
        assert len(chat.sync(conversation)) == 3


def test_a_reply_is_resumed_by_whoever_has_the_token(server: RunningServer) -> None:
    with ChatClient(server.url) as chat:
        conversation = chat.create()
        begun = chat.stream(conversation, LONG)
        with ChatClient(server.url, token=chat.token) as another:
            assert "".join(another.resume(conversation, begun.reply_id)) == f"You said: {LONG}"


def test_a_reply_is_stopped_rated_and_said_otherwise(server: RunningServer) -> None:
    with ChatClient(server.url) as chat:
        conversation = chat.create()
        stream = chat.stream(conversation, LONG)
        chat.stop(conversation, stream.reply_id)
        assert stream.wait().status == "stopped"
        again = chat.regenerate(conversation, stream.reply_id).wait()
        assert again.text == f"You said: {LONG}"
        chat.set_feedback(conversation, again.reply_id, -1, "Pardon?")
        assert chat.sync(conversation)[-1]["data"]["better_text"] == "Pardon?"


def test_what_was_said_is_said_otherwise_and_one_steps_between_the_versions(server: RunningServer) -> None:
    with ChatClient(server.url) as chat:
        conversation = chat.create()
        first = chat.stream(conversation, "Hello")
        assert first.wait().text == "You said: Hello"
        assert first.message_id is not None
        edited = chat.edit(conversation, first.message_id, "Good morning")
        assert edited.wait().text == "You said: Good morning"
        after_first = chat.stream(conversation, "And you?", parent_id=first.reply_id)
        after_first.wait()
        assert turns_of(chat, conversation) == [first.message_id, first.reply_id, *ids_of(after_first)]
        chat.choose(conversation, edited.reply_id)
        assert turns_of(chat, conversation) == list(ids_of(edited))


def ids_of(stream: Stream) -> tuple[str | None, str]:
    return stream.message_id, stream.reply_id


def turns_of(chat: ChatClient, conversation: str) -> list[str]:
    return [point.turn_id for point in chat.path(conversation).points]


def test_conversations_are_searched(server: RunningServer) -> None:
    with ChatClient(server.url) as chat:
        conversation, _ = chat.create(), chat.create()
        chat.send(conversation, "A marmalade sandwich")
        assert chat.search("MARMALADE") == [Found(conversation, "You said: A marmalade sandwich")]
        assert chat.search("caviar") == []


def test_one_looks_inside(server: RunningServer) -> None:
    with ChatClient(server.url) as chat:
        conversation = chat.create()
        reply = chat.send(conversation, "Hello")
        told = chat.explain(conversation, reply.reply_id)
        assert [(one.text, one.score, one.retrieved) for one in told.candidates] == [
            (reply.text, 0, False),
            ("Hm.", -1, True),
        ]
        assert told.moved == 1
        path = chat.path(conversation)
        assert [(point.speaker, point.moved) for point in path.points] == [("user", None), ("bot", 1)]
        assert path.density is not None
        assert len(path.density) == 32
        compared = chat.compare(conversation, reply.reply_id)
        assert compared.variants == dict.fromkeys(["greedy", "beam", "sample", "chosen"], reply.text)
        assert compared.tree.children == [Word("You", 0.5, [Word("said", 0.25, [])])]


def test_one_hears_of_what_the_users_other_connections_do(server: RunningServer) -> None:
    heard: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
    with ChatClient(server.url) as chat:
        listening = ChatClient(server.url, token=chat.token)
        for name in ("ready", "notice", "event"):
            listening.on(name, lambda news, name=name: heard.put((name, news)))  # type: ignore[misc]
        with listening:
            conversation = chat.create("Breakfast")
            chat.send(conversation, "Hello")
            (first, _), (notice, news), *events = (heard.get(timeout=30) for _ in range(5))
    assert (first, notice, news["conversation"]["title"]) == ("ready", "notice", "Breakfast")
    assert [event["type"] for _, event in events] == ["message.created", "reply.started", "reply.completed"]


def test_there_is_a_method_for_each_event_of_the_protocol() -> None:
    """What apps would otherwise have to send by `request`."""
    source = (ROOT / "chatbot" / "client.py").read_text()
    assert {name for name in FROM_CLIENT if f'"{name}"' not in source} == set()


def test_refusals_are_errors_with_their_code(server: RunningServer) -> None:
    with ChatClient(server.url) as chat:
        with pytest.raises(ChatError) as refused:
            chat.send(str(uuid.uuid4()), "Hello")
        assert refused.value.code == "not_found"
    with pytest.raises(ChatError) as refused, ChatClient(server.url, token="wrong"):
        pass
    assert refused.value.code == "unauthenticated"
    with pytest.raises(ChatError) as refused, ChatClient("http://127.0.0.1:9"):
        pass
    assert refused.value.code == "offline"


def test_a_killed_server_costs_neither_a_message_nor_a_word(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, delay=0.05)
    try:
        with ChatClient(server.url, timeout=240) as chat:
            conversation = chat.create()
            words = iter(stream := chat.stream(conversation, LONG))
            said = next(words) + next(words)
            server.kill()
            threading.Timer(1, server.start).start()
            meanwhile = chat.conversations()  # waits for the new server
            assert [one.conversation_id for one in meanwhile] == [conversation]
            assert said + "".join(words) == f"You said: {LONG}"
            assert stream.reply is not None
            assert stream.reply.status == "completed"
            assert [event["type"] for event in chat.sync(conversation)].count("message.created") == 1
    finally:
        server.kill()


def test_words_are_given_once_and_in_order_however_they_come() -> None:
    text, given = _Text(), []
    for index, words in [(1, "b"), (0, "a"), (2, "c"), (0, "ab"), (1, "cd"), (2, "e")]:
        text.add(index, words)
        given.append(text.new_words())
    assert given == ["", "ab", "c", "", "d", "e"]
