"""The whole way, as a user goes it: samples -> a checkpoint -> a server -> a conversation -> SQL -> dialogues again."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from data.store import TokenStore
from tests.clients import ROOT, ServerProcess, WireClient

CHATBOT = str(Path(sys.executable).with_name("chatbot"))


def run(*arguments: object) -> str:
    """The output of a chatbot command that must succeed."""
    done = subprocess.run([CHATBOT, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What configs/tiny.toml makes of the samples, in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("tiny")
    recipe = folder / "tiny.toml"
    recipe.write_text(re.sub(r'"var/', f'"{folder}/', (ROOT / "configs" / "tiny.toml").read_text()))
    run("train", recipe)
    return folder / "runs" / "tiny" / "checkpoint"


def openings() -> list[tuple[str, str]]:
    """The first utterance and its response of the sample dialogues."""
    lines = (ROOT / "tests" / "samples" / "shop_talk.jsonl").read_text().splitlines()
    messages = [json.loads(line)["messages"] for line in lines]
    return [(first["content"], second["content"]) for first, second, *_ in messages]


def test_a_trained_checkpoint_is_served_chatted_with_and_its_history_is_a_corpus_again(
    checkpoint: Path, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/chatbot.db"
    server = ServerProcess([CHATBOT, "serve", "--port", "0", "--checkpoint", str(checkpoint), "--database", database])
    said: list[str] = []
    right = 0
    try:
        with WireClient(server.url) as client:
            for question, answer in openings()[:24]:
                conversation = client.create()
                reply = client.say(conversation, question)
                follow_up = client.say(conversation, "Thank you!")
                said += [question, reply, "Thank you!", follow_up]
                right += reply == answer
        assert server.terminate() == 0
    finally:
        server.close()
    assert all(said)
    assert right >= 6  # it knows the samples by heart, greedily; a reply is a draw, and two in three hit

    exported = tmp_path / "dialogues.jsonl"
    run("history", "export", "--database", database, "--out", exported)
    dialogues = [json.loads(line)["messages"] for line in exported.read_text().splitlines()]
    assert sorted(message["content"] for messages in dialogues for message in messages) == sorted(said)

    run("prepare", exported, "--out", tmp_path / "prepared")
    stores = (tmp_path / "prepared").glob("*/*/dialogues.npy")
    kept = sum(len(TokenStore.open(file.parent)) for file in stores)
    # A reply is a draw: one that says what another said is left out, one that is unfit leaves a pair of its dialogue.
    assert kept >= len({tuple(message["content"] for message in messages) for messages in dialogues}) - 1


def test_a_promoted_checkpoint_answers_in_the_terminal(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path))
    run("models", "promote", checkpoint)
    question, answer = openings()[0]
    talk = [CHATBOT, "talk", "--greedy"]
    done = subprocess.run(talk, cwd=ROOT, input=f"{question}\n", capture_output=True, text=True, check=True)
    assert done.stdout == f"{answer}\n"
