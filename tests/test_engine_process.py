"""The engine in a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import MsgspecError

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.engine import ChatEngine
from chatbot.persona import Persona
from chatbot.reply import DEFAULT, GREEDY, EngineUnavailable, Reply, ReplyRequest
from chatbot.shelf import CheckpointError, promote
from tests.clients import ServerProcess, WireClient
from tests.tiny_checkpoint import tiny_checkpoint
from web import engine_process
from web.engine_process import EngineProcess

LONG = replace(GREEDY, min_tokens=2_000, max_tokens=2_000, no_repeat_ngram=0)  # a second or so
ENDLESS = replace(LONG, min_tokens=90_000, max_tokens=90_000)
REQUESTS = [
    ReplyRequest("Hello there", ("I am fine.", "What is your name?"), decoding=GREEDY),
    ReplyRequest("I like films", decoding=DEFAULT, seed=3),
    ReplyRequest("", decoding=replace(DEFAULT, candidates=4), seed=4),
    ReplyRequest("😀", decoding=GREEDY),
    ReplyRequest("do you like music", decoding=replace(GREEDY, method="beam"), is_trial=True),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return tiny_checkpoint(tmp_path_factory.mktemp("engine") / "tiny", 1)


@pytest.fixture(scope="module")
def engine(checkpoint: Checkpoint) -> Iterator[EngineProcess]:
    engine = EngineProcess(str(checkpoint.folder))
    engine.start()
    yield engine
    engine.close()


class Asked:
    """A reply, and the words that came before it."""

    def __init__(self, engine: EngineProcess, request: ReplyRequest) -> None:
        self.deltas: list[str] = []
        self.replies: list[Reply] = []
        self.begun, self.ended = threading.Event(), threading.Event()
        self.ticket = engine.submit(request, self._hear, self._end)

    def _hear(self, text: str) -> None:
        self.deltas.append(text)
        self.begun.set()

    def _end(self, reply: Reply) -> None:
        self.replies.append(reply)
        self.ended.set()

    def reply(self) -> Reply:
        assert self.ended.wait(60)
        return self.replies[0]


def until(holds: Callable[[], bool]) -> None:
    """The test's own time limit is the only one."""
    while not holds():
        time.sleep(0.01)


def test_it_answers_as_the_engine_does(engine: EngineProcess, checkpoint: Checkpoint) -> None:
    with ChatEngine(checkpoint) as inside:
        expected = [inside.reply(request) for request in REQUESTS]
    asked = []
    for request in REQUESTS:  # one by one, since states differ in their last digits from batch to batch
        asked.append(Asked(engine, request))
        asked[-1].reply()
    assert [one.reply() for one in asked] == expected
    assert ["".join(one.deltas) for one in asked] == [reply.text for reply in expected]
    assert engine.checkpoint.id == checkpoint.id
    assert engine.checkpoint.vocabulary.encode("hello") == checkpoint.vocabulary.encode("hello")


def test_it_has_the_name_that_it_is_given(checkpoint: Checkpoint) -> None:
    named = EngineProcess(str(checkpoint.folder), persona=Persona("Ada"))
    named.start()
    assert "called Ada" in Asked(named, ReplyRequest("Are you human?")).reply().text
    named.close()


def test_a_state_goes_there_and_back(engine: EngineProcess, checkpoint: Checkpoint) -> None:
    first = Asked(engine, REQUESTS[0]).reply()
    second = ReplyRequest("And you?", state=first.state_after, decoding=GREEDY)
    with ChatEngine(checkpoint) as inside:
        assert Asked(engine, second).reply() == inside.reply(second)


def test_a_reply_can_be_stopped(engine: EngineProcess) -> None:
    asked = Asked(engine, ReplyRequest("Hello", decoding=LONG))
    assert asked.begun.wait(60)
    asked.ticket.stop()
    reply = asked.reply()
    assert (reply.status, reply.text) == ("stopped", "".join(asked.deltas))
    asked.ticket.stop()


def test_a_process_that_dies_is_replaced_and_its_replies_only_come_later(
    engine: EngineProcess, checkpoint: Checkpoint
) -> None:
    long, chosen = ReplyRequest("Hello", decoding=LONG), ReplyRequest("I like films", decoding=DEFAULT)
    before = engine._child.process.pid
    asked = [Asked(engine, long), Asked(engine, chosen)]
    assert asked[0].begun.wait(60)
    os.kill(before, signal.SIGKILL)
    replies = [one.reply() for one in asked]
    assert engine._child.process.pid != before
    assert engine.is_running
    with ChatEngine(checkpoint) as inside:
        assert replies[0].text == inside.reply(long).text
    assert replies[1].status == "completed"
    assert ["".join(one.deltas) for one in asked] == [reply.text for reply in replies]


def test_what_was_stopped_before_it_died_stays_so(engine: EngineProcess) -> None:
    asked = Asked(engine, ReplyRequest("Hello", decoding=LONG))
    os.kill(engine._child.process.pid, signal.SIGSTOP)
    asked.ticket.stop()
    os.kill(engine._child.process.pid, signal.SIGKILL)
    assert asked.reply().status == "stopped"


def test_a_reply_that_every_process_dies_of_fails_alone(engine: EngineProcess) -> None:
    deadly = Asked(engine, ReplyRequest("Hello", decoding=ENDLESS))
    (asked,) = engine._asked.values()
    beside = [Asked(engine, ReplyRequest("Hello", decoding=LONG, seed=seed)) for seed in range(3)]
    for deaths in range(engine_process._DEATHS):
        until(lambda deaths=deaths: asked.is_at_work and asked.deaths == deaths)
        os.kill(engine._child.process.pid, signal.SIGKILL)
    assert deadly.reply().status == "failed"
    assert [one.reply().status for one in beside] == ["completed"] * 3
    assert ["".join(one.deltas) for one in beside] == [one.reply().text for one in beside]


def test_what_is_asked_while_another_process_loads_is_asked_once(engine: EngineProcess) -> None:
    os.kill(engine._child.process.pid, signal.SIGKILL)
    until(lambda: not engine.is_running)
    asked = [Asked(engine, ReplyRequest("Hello", decoding=LONG, seed=seed)) for seed in range(3)]
    stopped = Asked(engine, ReplyRequest("Hello", decoding=ENDLESS))
    stopped.ticket.stop()
    assert engine.before(REQUESTS[0]) is None
    assert [one.reply().status for one in asked] == ["completed"] * 3
    assert ["".join(one.deltas) for one in asked] == [one.reply().text for one in asked]
    assert stopped.reply().status == "stopped"


@pytest.mark.parametrize("is_closing_first", [True, False])
def test_what_a_dead_process_leaves_to_a_closing_engine_is_still_answered(
    checkpoint: Checkpoint, is_closing_first: bool
) -> None:
    engine = EngineProcess(str(checkpoint.folder))
    engine.start()
    asked = Asked(engine, ReplyRequest("Hello", decoding=LONG))
    assert asked.begun.wait(60)
    closing = threading.Thread(target=engine.close, args=(60,))
    pid = engine._child.process.pid
    os.kill(pid, signal.SIGSTOP)
    if is_closing_first:
        closing.start()
        until(lambda: engine._deadline is not None)
    os.kill(pid, signal.SIGKILL)
    if not is_closing_first:
        until(lambda: not engine.is_running)
        closing.start()
    closing.join()
    assert asked.reply().status == "completed"


def test_what_there_is_no_time_for_is_left_to_others(checkpoint: Checkpoint) -> None:
    engine = EngineProcess(str(checkpoint.folder))
    engine.start()
    asked = Asked(engine, ReplyRequest("Hello", decoding=ENDLESS))
    assert asked.begun.wait(60)
    os.kill(engine._child.process.pid, signal.SIGSTOP)
    engine.close()
    assert not asked.replies
    assert not engine.is_running


def test_a_process_that_speaks_nonsense_is_replaced(engine: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = engine._child.process.pid
    asked = Asked(engine, ReplyRequest("Hello", decoding=LONG))

    def fail(message: object) -> None:
        monkeypatch.undo()
        raise MsgspecError

    monkeypatch.setattr(engine, "_take", fail)
    assert asked.reply().status == "completed"
    assert engine._child.process.pid != pid


def test_a_callback_that_raises_harms_no_other_reply(engine: EngineProcess) -> None:
    def fail(what: object) -> None:
        raise ValueError

    engine.submit(REQUESTS[0], fail, fail)
    assert Asked(engine, REQUESTS[0]).reply().status == "completed"


def test_too_many_are_refused(engine: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "MOST_ASKED", 1)
    asked = Asked(engine, ReplyRequest("Hello", decoding=LONG))
    with pytest.raises(EngineUnavailable, match="Too many"):
        Asked(engine, REQUESTS[0])
    asked.ticket.stop()
    assert asked.reply().status == "stopped"


def test_none_before_is_none(engine: EngineProcess) -> None:
    assert engine.before(REQUESTS[0]) is None


def test_a_checkpoint_that_cannot_answer_is_refused_in_a_sentence(checkpoint: Checkpoint, tmp_path: Path) -> None:
    broken = shutil.copytree(checkpoint.folder, tmp_path / "broken")
    (broken / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"The checkpoint in .* is damaged"):
        EngineProcess(str(broken))


def test_whoever_asks_follows_what_is_live_and_its_predecessor(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "var"))
    promote(checkpoint.folder)
    engine = EngineProcess()
    engine.start()
    try:
        assert engine.checkpoint.id == checkpoint.id
        newer = promote(tiny_checkpoint(tmp_path / "2", 2).folder)
        until(lambda: engine.checkpoint.id == newer.id)
        assert Asked(engine, REQUESTS[0]).reply().checkpoint == newer.id
        with ChatEngine(load_checkpoint(checkpoint.folder)) as inside:
            assert engine.before(REQUESTS[0]) == inside.reply(REQUESTS[0])
        under_way = Asked(engine, ReplyRequest("Hello", decoding=LONG))
        assert under_way.begun.wait(60)
        engine.close(60)
        assert under_way.reply().status == "completed"
    finally:
        engine.close()
    assert not engine.is_running
    with pytest.raises(EngineUnavailable):
        Asked(engine, REQUESTS[0])


def test_closing_does_not_wait_for_what_takes_longer(checkpoint: Checkpoint) -> None:
    engine = EngineProcess(str(checkpoint.folder))
    engine.start()
    asked = Asked(engine, ReplyRequest("Hello", decoding=ENDLESS))
    assert asked.begun.wait(60)
    engine.close()
    assert asked.reply().status == "stopped"


def test_it_ends_with_whoever_asks_however_that_ends_and_brings_them_no_torch(checkpoint: Checkpoint) -> None:
    script = (
        "import os, signal, sys; import web.app; from web.engine_process import EngineProcess\n"
        f"engine = EngineProcess({str(checkpoint.folder)!r}); engine.start()\n"
        "print(engine._child.process.pid, 'torch' in sys.modules, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pid, brings_torch = found.stdout.split()
    assert brings_torch == "False"
    until(lambda: not Path(f"/proc/{pid}/cmdline").is_file() or not Path(f"/proc/{pid}/cmdline").read_bytes())


def test_a_person_keeps_the_connection_when_the_engine_is_killed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("chatbot")), "serve", "--port", "0"]
    command += ["--checkpoint", str(checkpoint.folder), "--database", f"sqlite:///{tmp_path}/chatbot.db"]
    server = ServerProcess(command)
    try:
        with WireClient(server.url, timeout=120) as client:
            conversation = client.create()
            assert client.say(conversation, "Hello there")
            for _ in range(3):
                (engine,) = server.engines
                sent = client.send(conversation, "And you?")
                os.kill(engine, signal.SIGKILL)
                assert client.reply_to(sent)["status"] == "completed"
            assert [event["seq"] for event in client.events(conversation)] == list(range(1, 13))
        (engine,) = server.engines
        assert server.terminate() == 0
        until(lambda: not Path(f"/proc/{engine}").exists())
    finally:
        server.close()
