"""The benchmark of memory: what is told and asked in it, and which reply is right."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import chatbot
from benchmarks import remember
from chatbot.engine import ChatEngine
from chatbot.reply import DecodingConfig, Reply
from data.vocabulary import UNK, Vocabulary
from tests.tiny_checkpoint import tiny_checkpoint

FREQUENT = 7_000  # ids are in the order of frequency
SHIPPED = Vocabulary.load(Path(chatbot.__path__[0]) / "pretrained" / "vocabulary.json")


def test_there_are_200_conversations_in_equal_parts():
    made = remember.trials()
    cells = Counter((one.is_common, one.distance) for one in made)
    assert set(cells.values()) == {25}
    assert len(cells) == 8
    kinds = Counter((one.kind, one.is_common) for one in made)
    assert len(kinds) == 14
    assert min(kinds.values()) >= 12
    assert made == remember.trials()


def test_common_facts_are_frequent_words_and_unknown_ones_no_words_of_the_shipped_vocabulary():
    for kind in remember.KINDS.values():
        common = [SHIPPED.id_of(word) for fact in kind.facts(True) for word in remember.wanted(fact)]
        assert UNK not in common
        assert max(common) < FREQUENT
        assert {SHIPPED.id_of(word) for fact in kind.facts(False) for word in remember.wanted(fact)} == {UNK}


def test_a_fact_is_told_first_and_asked_for_last_and_never_named_in_between():
    for one in remember.trials():
        words = remember.wanted(one.fact)
        told, *between, asked = one.lines
        assert len(between) == one.distance
        assert "*" not in told
        assert "/" not in told
        assert any(re.search(rf"\b{word}\b", told) for word in words)
        assert not any(re.search(rf"\b{word}\b", line, re.IGNORECASE) for word in words for line in (*between, asked))


@pytest.mark.parametrize(
    ("fact", "reply", "is_right"),
    [
        ("Zorvin", "Your name is zorvin.", True),
        ("Zorvin", "Your name is Zorvina.", False),
        ("seven/7", "It was 7!", True),
        ("seven/7", "Seven.", True),
        ("seven/7", "It was 17.", False),
        ("wash the *dog", "You want to wash the car.", False),
        ("wash the *dog", "Something with your dog.", True),
    ],
)
def test_a_reply_is_right_where_it_holds_the_fact(fact, reply, is_right):
    trial = replace(remember.trials()[0], fact=fact, said=["...", reply])
    assert trial.is_right is is_right


def test_who_remembers_gets_all_and_the_states_are_carried(capsys):
    class Engine:
        """Says what was told first in the conversation, if its own state is handed back to it."""

        def reply(self, request):
            told = request.context[0] if request.context else request.utterance
            assert request.state == (told if request.context else None)
            assert len(request.context) % 2 == 0
            return Reply(told, "completed", "x", state_after=told)

    made = remember.trials()
    remember.hold(Engine(), made)
    assert all(one.is_right for one in made)
    assert all(one.said[::2] == list(one.lines) for one in made)
    rows = remember.table(made)
    assert re.match(r"common words +1 lines later +25 of  25 = 100% \(87% to 100%\)   goal 80%", rows[0])
    assert rows[-1].startswith("0 of the 1,150 lines")


def test_a_checkpoint_is_asked_and_all_that_was_said_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "benchmarks.talks.ChatEngine", lambda checkpoint: ChatEngine(checkpoint, DecodingConfig(max_tokens=3))
    )
    out = tmp_path / "replies.jsonl"
    remember.main([str(tiny_checkpoint(tmp_path / "checkpoint").folder), "--replies", str(out)])
    rows = list(map(json.loads, out.read_text().splitlines()))
    assert len(rows) == 200
    assert all(row["said"][::2] == row["lines"] and row["fact"] for row in rows)
    assert "words never seen  8 lines later" in capsys.readouterr().out
