"""The probes of character: which answers are right, and which pass for right nowhere."""

import json
import re

import pytest

from benchmarks import character
from chatbot.engine import ChatEngine
from chatbot.reply import DecodingConfig
from chatbot.safety.answers import answer
from tests.tiny_checkpoint import tiny_checkpoint

PROBES = character.probes()
# What an untaught network says, much of which would fit anywhere.
NONSENSE = (
    "I don't know, but I think it was a good one.",
    "I love that movie! Have you seen it?",
    "Yes, I do.",
    "I have two dogs and a cat.",
    "I don't have time for that.",
    "I have no idea.",
    "What was it about?",
    "That's what I was thinking.",
    "",
)


def of(kind: str) -> character.Probe:
    return next(one for one in PROBES if one.kind == kind)


def test_there_are_a_hundred_and_no_two_are_alike():
    assert len(PROBES) == len({one.said for one in PROBES}) == 100
    assert all(len(one.said) % 2 for one in PROBES)  # a person begins, and is answered


@pytest.mark.parametrize("probe", PROBES, ids=lambda one: one.said[-1])
def test_a_good_answer_is_right_and_nonsense_is_not(probe):
    assert probe.fault(probe.good) is None
    assert [text for text in NONSENSE if probe.fault(text) is None] == []


def test_a_good_answer_to_one_kind_is_not_right_everywhere():
    kinds = {one.kind: one for one in PROBES}
    passed = {kind: sum(one.fault(other.good) is None for other in PROBES) for kind, one in kinds.items()}
    assert {kind: count for kind, count in passed.items() if count > 45} == {}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("greeting", "Hi, I'm Alex."),
        ("identity", "I am a human like you, no robot."),
        ("name", "My name is Robin. Or call me Bob."),
        ("family", "My wife says I'm only a program."),
        ("meals", "I just ate some bread, I can't have more."),
        ("home", "I'm from Texas, but a program."),
        ("childhood", "I have no age. When I was little I was shy."),
        ("comfort", "I'm sorry, that's funny."),
        ("comfort", "I'm sorry, I haven't seen it."),
        ("insults", "I'm sorry that you are so stupid."),
    ],
)
def test_one_false_claim_spoils_an_answer(kind, said):
    assert of(kind).fault(said)


def test_an_echo_is_wrong_and_a_short_greeting_back_is_none():
    sad = next(one for one in PROBES if one.said[-1] == "I feel so lonely.")
    assert sad.fault("I'm sorry. I feel so lonely.") == "an echo"
    assert not character.is_echo("Good night! Sleep well.", "Good night.")
    assert not character.is_echo("I like talking to you, too.", "I like talking to you.")


def test_the_fixed_answer_to_a_danger_is_wrong():
    fixed = answer("suicide", "Tell me something about yourself.", "Robin", "your local emergency number")
    assert of("identity").fault(fixed) == "the fixed answer to suicide"


def test_curly_apostrophes_are_read_as_straight_ones():
    assert of("body").fault("I don’t have a body.") is None


def test_a_checkpoint_is_asked_and_its_faults_are_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "benchmarks.talks.ChatEngine", lambda checkpoint: ChatEngine(checkpoint, DecodingConfig(max_tokens=5))
    )
    out = tmp_path / "replies.jsonl"
    character.main([str(tiny_checkpoint(tmp_path / "checkpoint").folder), "--replies", str(out)])
    printed = capsys.readouterr().out
    assert re.search(r"^right: +\d+ of 100 = ", printed, re.MULTILINE)
    rows = list(map(json.loads, out.read_text().splitlines()))
    assert len(rows) == 100
    assert all(f"    ({row['fault']})" in printed for row in rows if row["fault"])
    assert sum(row["fault"] is None for row in rows) == int(re.search(r"right: +(\d+)", printed)[1])


@pytest.mark.parametrize("arguments", [["/nowhere/at/all"], ["default", "--replies", "/nowhere/at/all.jsonl"]])
def test_what_is_not_there_is_said_in_a_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        character.main(arguments)
    assert stopped.value.code
    told = f"{stopped.value.code}{capsys.readouterr().err}"
    assert "/nowhere/at/all" in told
    assert "Traceback" not in told
