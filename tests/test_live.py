"""The live checkpoint changes under running replies: of an engine, and of whole servers."""

import json
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import requests
import structlog
import torch
from safetensors.torch import load_file, save_file

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.engine import ChatEngine
from chatbot.history import open_history
from chatbot.live import LiveEngine
from chatbot.reply import GREEDY, EngineUnavailable, Reply, ReplyRequest
from chatbot.shelf import live_id, promote, rollback
from tests.clients import ServerProcess, WireClient
from tests.tiny_checkpoint import tiny_checkpoint
from web.engine_process import Begin, _Served

CHATBOT = str(Path(sys.executable).with_name("chatbot"))
HELLO = ReplyRequest("Hello there", decoding=GREEDY)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Checkpoint]:
    """Three of different weights; the first is live."""
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "var"))
    made = [tiny_checkpoint(tmp_path / f"{seed}", seed) for seed in (1, 2, 3)]
    monkeypatch.setattr("chatbot.shelf.SHIPPED", made[0].folder)
    promote(made[0].folder)
    return made


def until(holds: Callable[[], bool]) -> None:
    """The test's own time limit is the only one."""
    while not holds():
        time.sleep(0.01)


def put_live(checkpoint: Checkpoint, damage: Callable[[Path], None]) -> None:
    """Damages a copy on the shelf and points `live` to it, as somebody would by hand, though in one step."""
    shelf = load_checkpoint("live").folder.parent
    folder = shelf / f"by-hand-{damage.__name__}"
    shutil.copytree(checkpoint.folder, folder)
    damage(folder)
    (shelf / "link").symlink_to(folder.name)
    (shelf / "link").replace(shelf / "live")


def shorten(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])


def hold_a_pickle(folder: Path) -> None:
    torch.save({"embedding.weight": torch.zeros(1)}, folder / "model.safetensors")


def claim_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"]["state_size"] = 10**6
    (folder / "config.json").write_text(json.dumps(config))


def overflow(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: torch.full_like(value.float(), 3e38) for name, value in weights.items()}, folder / "m")
    (folder / "m").replace(folder / "model.safetensors")


def vanish(folder: Path) -> None:
    shutil.rmtree(folder)


# The engine


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def live(checkpoints: list[Checkpoint], log: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveEngine]:
    monkeypatch.setattr("chatbot.live.LOOK_SECONDS", 0.01)
    engine = LiveEngine()
    engine.start()
    yield engine
    engine.close()


class Asked:
    """A reply that stands still at its first words, and its engine with it, until it may `go_on`."""

    def __init__(self, engine: LiveEngine) -> None:
        self.begun, self.go_on, self._ended = threading.Event(), threading.Event(), threading.Event()
        self.replies: list[Reply] = []
        engine.submit(HELLO, self._hear, self._end)

    def _hear(self, delta: str) -> None:
        self.begun.set()
        self.go_on.wait(100)

    def _end(self, reply: Reply) -> None:
        self.replies.append(reply)
        self._ended.set()

    def reply(self) -> Reply:
        self.go_on.set()
        assert self._ended.wait(100)
        [reply] = self.replies
        return reply


def alone(checkpoint: Checkpoint) -> str:
    """What a checkpoint replies by itself."""
    with ChatEngine(checkpoint) as engine:
        return engine.reply(HELLO).text


def test_a_running_reply_ends_on_the_old_checkpoint_while_new_ones_start_on_the_new(
    live: LiveEngine, checkpoints: list[Checkpoint]
) -> None:
    first, second, _ = checkpoints
    running, waiting = Asked(live), Asked(live)
    running.begun.wait()
    promote(second.folder)
    until(lambda: live.checkpoint.id == second.id)
    fresh = Asked(live).reply()
    assert (fresh.checkpoint, fresh.text) == (second.id, alone(second))
    assert not running.replies
    waiting.go_on.set()
    for reply in (running.reply(), waiting.reply()):
        assert (reply.checkpoint, reply.status, reply.text) == (first.id, "completed", alone(first))


def test_no_request_falls_between_two_checkpoints(live: LiveEngine, checkpoints: list[Checkpoint]) -> None:
    replies: list[Reply] = []
    enough = threading.Event()

    def ask() -> int:
        asked = 0
        while not enough.is_set():
            live.submit(HELLO, lambda delta: None, replies.append)  # raises where nobody takes it
            asked += 1
            time.sleep(0.01)
        return asked

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        for checkpoint in checkpoints[1:] * 2:
            promote(checkpoint.folder)
            until(lambda id=checkpoint.id: replies[-1:] != [] and replies[-1].checkpoint == id)  # type: ignore[misc]
        enough.set()
    live.close(60)
    assert len(replies) == asking.result()
    assert {reply.status for reply in replies} == {"completed"}


def test_the_old_model_goes_when_its_replies_have_ended(live: LiveEngine, checkpoints: list[Checkpoint]) -> None:
    old = weakref.ref(live.checkpoint.model)
    running = Asked(live)
    running.begun.wait()
    promote(checkpoints[1].folder)
    until(lambda: live.checkpoint.id == checkpoints[1].id)
    assert old() is not None
    running.reply()
    until(lambda: old() is None)


@pytest.mark.parametrize("damage", [shorten, hold_a_pickle, claim_another_size, overflow, vanish])
def test_what_cannot_answer_is_refused_once_and_the_old_checkpoint_goes_on(
    live: LiveEngine, checkpoints: list[Checkpoint], log: list[Any], damage: Callable[[Path], None]
) -> None:
    first, second, third = checkpoints
    put_live(second, damage)
    until(lambda: bool(log))
    assert (live.checkpoint.id, Asked(live).reply().checkpoint) == (first.id, first.id)
    time.sleep(0.1)  # some looks later
    [line] = log
    assert (line["event"], line["log_level"], line["checkpoint"]) == ("checkpoint refused", "error", first.id)
    assert len(line["reason"].splitlines()) == 1
    promote(third.folder)
    until(lambda: live.checkpoint.id == third.id)
    assert Asked(live).reply().status == "completed"


def test_an_index_of_another_checkpoint_is_a_refusal_and_none_is_fine(
    live: LiveEngine, checkpoints: list[Checkpoint], log: list[Any], tmp_path: Path
) -> None:
    index = tmp_path / "var" / "responses" / f"{checkpoints[1].id}.safetensors"
    index.parent.mkdir()
    index.write_bytes(b"no index")
    promote(checkpoints[1].folder)
    until(lambda: bool(log))
    assert "index of responses" in log[0]["reason"]
    index.unlink()
    promote(checkpoints[1].folder)  # the same again, now that it is mended
    until(lambda: live.checkpoint.id == checkpoints[1].id)


def test_closing_lets_the_replies_on_both_checkpoints_end(live: LiveEngine, checkpoints: list[Checkpoint]) -> None:
    old = Asked(live)
    old.begun.wait()
    promote(checkpoints[1].folder)
    until(lambda: live.checkpoint.id == checkpoints[1].id)
    new = Asked(live)
    closing = threading.Thread(target=live.close, args=(60,))
    closing.start()
    ended = [(reply.checkpoint, reply.status) for reply in (old.reply(), new.reply())]
    closing.join()
    assert ended == [(checkpoints[0].id, "completed"), (checkpoints[1].id, "completed")]
    assert not live.is_running
    with pytest.raises(EngineUnavailable):
        Asked(live)


def test_nothing_is_taken_after_the_end(live: LiveEngine, checkpoints: list[Checkpoint]) -> None:
    live.close()
    promote(checkpoints[1].folder)
    live._take_live()
    assert live.checkpoint.id == checkpoints[0].id
    assert not live.is_running


class Unheard:
    """A line that nobody listens to."""

    def say(self, message: object) -> None: ...


def test_only_the_live_checkpoint_is_watched(checkpoints: list[Checkpoint]) -> None:
    for named in ("live", "default", str(checkpoints[0].folder), checkpoints[0].id):
        engine = _Served(Unheard(), Begin(named, None))._engine  # type: ignore[arg-type]
        assert isinstance(engine, LiveEngine if named == "live" else ChatEngine)
        engine.close()


# Whole servers


@contextmanager
def serving(database: Path, count: int = 1) -> Iterator[list[ServerProcess]]:
    """Servers of what is live under $CHATBOT_HOME, each with a database of its own."""
    with ExitStack() as stack:
        servers = []
        for number in range(count):
            command = [CHATBOT, "serve", "--port", "0", "--database", f"sqlite:///{database}{number}.db"]
            servers.append(ServerProcess(command, CHATBOT_MESSAGES_PER_MINUTE="1000000"))
            stack.callback(servers[-1].close)
        yield servers


def answering(server: ServerProcess) -> str:
    return str(requests.get(f"{server.url}/healthz", timeout=60).json()["checkpoint"])


class Talkers:
    """Clients that ask on and on over connections which they never renew."""

    def __init__(self, servers: list[ServerProcess], each: int) -> None:
        self._enough = threading.Event()
        self._pool = ThreadPoolExecutor(len(servers) * each)
        self.heard: list[list[dict[str, Any]]] = [[] for _ in servers * each]
        places = zip(servers * each, self.heard, strict=True)
        self._talking: list[Future[None]] = [self._pool.submit(self._talk, *place) for place in places]

    def _talk(self, server: ServerProcess, heard: list[dict[str, Any]]) -> None:
        with WireClient(server.url, timeout=120) as client:
            conversation = client.create()
            while not self._enough.is_set():
                heard.append(client.reply_to(client.send(conversation, "Hello there, how are you today?")))

    def hear(self, checkpoint: str, more: int = 3) -> None:
        """Until everybody has had some more replies, the last of them by this checkpoint."""
        before = [len(heard) for heard in self.heard]
        for heard, had, talking in zip(self.heard, before, self._talking, strict=True):
            until(
                lambda heard=heard, had=had, talking=talking: (  # type: ignore[misc]
                    talking.done() or (len(heard) >= had + more and heard[-1]["checkpoint"] == checkpoint)
                )
            )

    def end(self) -> None:
        """Raises whatever went wrong with one of them."""
        self._enough.set()
        self._pool.shutdown()
        for talking in self._talking:
            talking.result()


def test_running_servers_take_promotions_and_rollbacks_and_lose_no_reply(
    checkpoints: list[Checkpoint], tmp_path: Path
) -> None:
    first, second, third = (checkpoint.id for checkpoint in checkpoints)
    with serving(tmp_path / "chat", 2) as servers:
        talkers = Talkers(servers, 3)
        talkers.hear(first)
        promote(checkpoints[1].folder)
        talkers.hear(second)
        rollback()
        talkers.hear(first)
        put_live(checkpoints[1], shorten)
        until(lambda: all("checkpoint refused" in server.errors() for server in servers))
        talkers.hear(first)
        promote(checkpoints[2].folder)
        talkers.hear(third)
        talkers.end()
        for server in servers:
            assert answering(server) == third == live_id()
            with WireClient(server.url) as client:
                assert client.ready["model"] == {"checkpoint": third}
            logged = [json.loads(line)["event"] for line in server.errors().splitlines()]
            lines = [event for event in logged if event not in ("reply asked for", "reply ended")]
            assert lines == ["checkpoint taken"] * 2 + ["checkpoint refused", "checkpoint taken"]
            assert server.terminate() == 0
    for heard in talkers.heard:
        assert {reply["status"] for reply in heard} == {"completed"}
        assert [made_by for made_by, _ in groupby(reply["checkpoint"] for reply in heard)] == [
            first,
            second,
            first,
            third,
        ]


def test_a_conversation_goes_on_with_the_new_checkpoint_from_its_last_turns(
    checkpoints: list[Checkpoint], tmp_path: Path
) -> None:
    first, second, _ = checkpoints
    with serving(tmp_path / "chat") as [server], WireClient(server.url, timeout=120) as client:
        conversation = client.create()
        for text in ("Hello!", "What is your name?"):
            client.say(conversation, text)
        promote(second.folder)
        until(lambda: answering(server) == second.id)
        client.say(conversation, "I like music and films")
        client.say(conversation, "do you?")
        client.close()
        assert server.terminate() == 0
    history = open_history(f"sqlite:///{tmp_path}/chat0.db")
    with history.engine.connect() as connection:
        turns = connection.exec_driver_sql("SELECT text, checkpoint, state FROM turns ORDER BY seq").all()
    history.engine.dispose()
    assert [made_by for _, made_by, _ in turns] == [first.id] * 4 + [second.id] * 4
    with ChatEngine(second) as engine:
        request = ReplyRequest(turns[4].text, tuple(turn.text for turn in turns[:4]))
        expected = engine.reply(request).state_before
    assert expected is not None
    found = torch.frombuffer(bytearray(turns[4].state), dtype=torch.float32)
    torch.testing.assert_close(found, torch.frombuffer(bytearray(expected.vector), dtype=torch.float32))
