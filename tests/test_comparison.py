"""A turn decoded in other ways, and by the checkpoint that was live before."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.engine import ChatEngine
from chatbot.live import LiveEngine, reply_of_before
from chatbot.reply import Reply, ReplyRequest
from chatbot.shelf import promote, rollback, shelf
from tests.tiny_checkpoint import tiny_checkpoint
from web.comparison import WAYS, compare

HELLO = ReplyRequest("Hello there", ("I am fine.", "What is your name?"), seed=1)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Checkpoint]:
    """Two of different weights; the second is live."""
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "var"))
    made = [tiny_checkpoint(tmp_path / f"{seed}", seed) for seed in (1, 2)]
    monkeypatch.setattr("chatbot.shelf.SHIPPED", made[0].folder)
    promote(made[1].folder)
    return made


class WithBefore:
    """Asked for the one before as the engine's process asks."""

    checkpoint: Checkpoint

    def before(self, request: ReplyRequest) -> Reply | None:
        return reply_of_before(self.checkpoint.id, request)


class Served(WithBefore, ChatEngine): ...


class ServedLive(WithBefore, LiveEngine): ...


@pytest.fixture
def live(checkpoints: list[Checkpoint]) -> Iterator[ServedLive]:
    engine = ServedLive()
    engine.start()
    yield engine
    engine.close()


def said(engine: ServedLive | Served) -> dict[str, str]:
    return {one["name"]: one["text"] for one in compare(engine, HELLO)["variants"]}


def test_the_checkpoint_before_is_asked_as_well_and_let_go(checkpoints: list[Checkpoint], live: ServedLive) -> None:
    with ChatEngine(load_checkpoint(checkpoints[0].folder)) as before:
        expected = before.reply(HELLO).text
    compared = said(live)
    assert compared["before"] == expected
    assert compared["before"] != compared["chosen"]
    assert [thread.name for thread in threading.enumerate()].count("chat-engine") == 1


def test_where_none_was_live_before_there_are_the_four_ways(checkpoints: list[Checkpoint]) -> None:
    rollback()
    with Served(load_checkpoint("live")) as live:
        assert said(live).keys() == WAYS.keys()


def test_one_that_does_not_answer_with_what_is_live_has_none_before(checkpoints: list[Checkpoint]) -> None:
    with Served(checkpoints[0]) as other:
        assert said(other).keys() == WAYS.keys()


def test_one_before_that_is_broken_or_gone_costs_the_others_nothing(
    checkpoints: list[Checkpoint], live: ServedLive, tmp_path: Path
) -> None:
    (checkpoints[0].folder / "config.json").write_text("{}")
    assert said(live).keys() == WAYS.keys()
    promote(tiny_checkpoint(tmp_path / "3", 3).folder)
    shutil.rmtree(shelf() / checkpoints[1].id)
    with Served(load_checkpoint("live")) as newest:
        assert said(newest).keys() == WAYS.keys()
