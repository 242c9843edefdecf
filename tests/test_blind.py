"""Piles of replies that are read blind, and what is made of readers' marks."""

import json
import lzma
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import training
from chatbot.checkpoint import load_checkpoint
from chatbot.cli import main
from chatbot.reply import CONTEXT_TURNS, Reply, ReplyRequest
from chatbot.ssa import Mark, Marked, scores
from data.formats.dialogue import Dialogue
from tests.tiny_checkpoint import tiny_checkpoint
from training.blind import pile as piles
from training.blind.marks import agreement
from training.blind.pile import PERSON, STRANGER, Candidate, Context, Item, Pile, draw_contexts, make_pile, read_key

PILE = Pile(
    {"old": "hred-old", "new": "hred-new"},
    (
        Item("a/1", 1, ("Hi!",), (Candidate("Hello.", (PERSON,)), Candidate("Tea?", ("old", "new", STRANGER)))),
        Item(
            "a/2", 3, ("Cold?", "No.", "Good."),
            (Candidate("Yes.", ("new",)), Candidate("My dog.", (STRANGER,)), Candidate("It is May.", (PERSON, "old"))),
        ),
    ),
)  # fmt: skip


def blind(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["blind", *map(str, arguments)], env={"COLUMNS": "80"})


def said(*arguments: str | Path) -> str:
    ran = blind(*arguments)
    assert ran.exit_code == 0, ran.output
    return ran.output


def unshown(places: Sequence[int], description: str) -> Iterable[int]:
    return places


def context(number: int, response: str, *utterances: str) -> Context:
    return Context(f"talk/{number}", len(utterances), utterances, response)


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Six conversations in which each of the assistant's replies is another one."""
    file = tmp_path / "talks.jsonl"
    with file.open("w") as lines:
        for number in range(6):
            turns = [("user", f"I like film {number}."), ("assistant", f"Is film {number} long?")] * 2
            messages = [{"role": role, "content": f"{text} {place}"} for place, (role, text) in enumerate(turns)]
            lines.write(json.dumps({"id": f"talks/{number}", "messages": messages}) + "\n")
    return file


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return [str(tiny_checkpoint(tmp_path / name, seed).folder) for seed, name in enumerate(("first", "second"))]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """PILE as readers get it."""
    folder = tmp_path / "pile"
    folder.mkdir()
    piles.write_pile(PILE, folder)
    return folder


class Talker:
    """In the place of an engine: replies as it is told, and remembers what it was asked."""

    def __init__(self, reply: Callable[[ReplyRequest], str]) -> None:
        self.reply = reply
        self.requests: list[ReplyRequest] = []

    def __call__(self, checkpoint: Any) -> "Talker":
        return self

    def __enter__(self) -> "Talker":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def submit(self, request: ReplyRequest, on_delta: Any, on_finished: Callable[[Reply], None]) -> None:
        self.requests.append(request)
        text = self.reply(request)
        on_finished(Reply(text, "completed" if text else "failed", "hred-talker"))


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[ReplyRequest], str]], Talker]:
    def put(reply: Callable[[ReplyRequest], str]) -> Talker:
        made = Talker(reply)
        monkeypatch.setattr(piles, "ChatEngine", made)
        return made

    return put


# The pile


def test_a_pile_holds_every_reply_and_only_its_key_tells_whose_it_is(
    talks: Path, folders: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said("pile", *folders, "--contexts", talks, "--out", out, "--count", "3")
    assert sorted(path.name for path in out.iterdir()) == ["key.json", "marks.txt", "pile.txt"]
    key = read_key(out / "key.json")
    assert key.checkpoints == {folder: load_checkpoint(folder).id for folder in folders}
    assert len(key.items) == 3
    for item in key.items:
        systems = sorted(system for candidate in item.candidates for system in candidate.systems)
        assert systems == sorted([*folders, PERSON, STRANGER])
        assert all(candidate.text for candidate in item.candidates)
        assert item.turn in (1, 3)
    to_read = (out / "pile.txt").read_text()
    for number, item in enumerate(key.items, 1):
        assert f"\n{number} ({len(item.candidates)} replies): " in (out / "marks.txt").read_text()
        assert f"\nA: {item.context[-1]}\n" in to_read
        assert all(f"   {place}. {one.text}\n" in to_read for place, one in enumerate(item.candidates, 1))
    for secret in (*key.checkpoints, *key.checkpoints.values(), PERSON, "first", "second", "talks/"):
        assert secret not in to_read + (out / "marks.txt").read_text()


def test_a_seed_gives_the_same_pile_again_and_another_seed_another_one(
    talks: Path, folders: list[str], tmp_path: Path
) -> None:
    made = []
    for place, seed in enumerate((7, 7, 8)):
        said(
            "pile", folders[0], "--contexts", talks, "--out", tmp_path / str(place), "--count", "3", "--seed", str(seed)
        )
        made.append([(tmp_path / str(place) / name).read_text() for name in ("pile.txt", "key.json")])
    assert made[0] == made[1] != made[2]


def test_the_order_of_replies_says_nothing(talker: Any) -> None:
    talker(lambda request: "From the network.")
    contexts = [context(number, f"Reply {number}.", "Hello") for number in range(40)]
    checkpoint = type("Named", (), {"id": "hred-one"})
    pile = make_pile({"one": checkpoint}, contexts[:20], contexts[20:], 0, unshown)  # type: ignore[dict-item]
    for system in ("one", PERSON, STRANGER):
        places = {[system in one.systems for one in item.candidates].index(True) for item in pile.items}
        assert places == {0, 1, 2}


def test_equal_texts_are_one_reply_of_all_who_gave_it(talker: Any) -> None:
    talker(lambda request: "Me  too.\n" if request.utterance == "I am tired." else "No.")
    contexts = [context(1, "Me too.", "I am tired."), context(2, "Why?", "I am happy.")]
    checkpoint = type("Named", (), {"id": "hred-one"})
    pile = make_pile({"one": checkpoint}, contexts, [], 0, unshown)  # type: ignore[dict-item]
    assert [len(item.candidates) for item in pile.items] == [2, 3]
    first, second = ({one.text: one.systems for one in item.candidates} for item in pile.items)
    assert first == {"Me too.": (PERSON, "one"), "Why?": (STRANGER,)}
    assert second == {"Why?": (PERSON,), "Me too.": (STRANGER,), "No.": ("one",)}


def test_random_peoples_replies_come_from_contexts_that_are_not_read(talker: Any) -> None:
    talker(lambda request: "No.")
    contexts = [context(number, f"Reply {number}.", "Hello") for number in range(8)]
    pile = make_pile({}, contexts[:4], contexts[4:], 0, unshown)
    strange = {one.text for item in pile.items for one in item.candidates if STRANGER in one.systems}
    assert strange == {f"Reply {number}." for number in range(4, 8)}
    with pytest.raises(ValueError, match="two conversations with different replies"):
        make_pile({}, [context(1, "Same.", "Hi"), context(2, "Same.", "Hello")], [], 0, unshown)


def test_a_checkpoint_is_asked_as_in_a_conversation_that_is_resumed(talker: Any) -> None:
    asked = talker(lambda request: "Fine.")
    utterances = tuple(f"Utterance {number}" for number in range(30))
    [drawn] = draw_contexts([Dialogue("a/1", "a", "a/1", (*utterances, "The end."))] * 1, 1, 4)
    make_pile({"one": type("Named", (), {"id": "hred-one"})}, [drawn, context(2, "Oh.", "Hi")], [], 5, unshown)  # type: ignore[dict-item]
    first, second = asked.requests
    assert first.utterance == utterances[drawn.turn - 1]
    assert first.context == utterances[max(0, drawn.turn - 1 - CONTEXT_TURNS) : drawn.turn - 1]
    assert (first.decoding, first.state, second.utterance, second.context) == (None, None, "Hi", ())
    assert first.seed != second.seed


def test_a_context_is_answered_by_the_assistant_in_its_own_words() -> None:
    said = ("Hi", "Hello.", "I am ill", "See a doctor.", "ok", "   ", "bye", "Bye!")
    roles = ("user", "assistant") * 4
    dialogue = Dialogue("a/1", "a", "a/1", said, roles, (1, 1, 1, 0, 1, 1, 1, 1))  # the doctor is a fixed answer
    drawn = [draw_contexts([dialogue], 1, seed)[0] for seed in range(30)]
    assert {(one.turn, one.response) for one in drawn} == {(1, "Hello."), (7, "Bye!")}
    assert {one.utterances for one in drawn if one.turn == 7} == {
        ("Hi", "Hello.", "I am ill", "See a doctor.", "ok", "bye")
    }


def test_without_roles_any_utterance_but_the_first_is_a_reply() -> None:
    dialogue = Dialogue("a/1", "a", "a/1", ("one", "two", "three"))
    assert {draw_contexts([dialogue], 1, seed)[0].response for seed in range(20)} == {"two", "three"}
    assert draw_contexts([Dialogue("a/2", "a", "a/2", ("alone",))], 1, 0) == []


def test_what_is_interrupted_or_fails_leaves_nothing(
    talks: Path, folders: list[str], tmp_path: Path, talker: Any
) -> None:
    def interrupted(request: ReplyRequest) -> str:
        raise KeyboardInterrupt

    pile = ("pile", folders[0], "--contexts", talks, "--out", tmp_path / "new" / "out")
    talker(interrupted)
    ran = blind(*pile)
    assert (ran.exit_code, ran.output) == (130, "Stopped; nothing was written.\n")
    talker(lambda request: "")
    ran = blind(*pile)
    assert ran.exit_code == 2
    assert "first could not answer: its checkpoint may be broken." in ran.output
    assert list((tmp_path / "new").iterdir()) == []


def test_what_cannot_be_piled_is_said_in_a_sentence(talks: Path, folders: list[str], tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "marks.anna.txt").write_text("1: 0 1")
    for arguments, told in (
        ([folders[0], "--out", full], "full is there already; name a new folder."),
        ([folders[0], folders[0], "--out", tmp_path / "new"], "are the same checkpoint; name each one once."),
        (["nowhere", "--out", tmp_path / "new"], "There is no checkpoint in nowhere"),
    ):
        ran = blind("pile", *arguments, "--contexts", talks)
        assert (ran.exit_code, told in ran.output) == (2, True), ran.output
    assert (full / "marks.anna.txt").read_text() == "1: 0 1"
    assert not (tmp_path / "new").exists()
    assert "has only 6 conversations" in said("pile", folders[0], "--contexts", talks, "--out", tmp_path / "six")


# Scores


def test_the_score_is_what_one_counts_by_hand(written: Path) -> None:
    form = (written / "marks.txt").read_text()
    filled = form.replace("1 (2 replies): ", "1 (2 replies): 1 0").replace("2 (3 replies): ", "2 (3 replies): 1, 0, 2*")
    (written / "marks.anna.txt").write_text(filled)
    (written / "marks.ben.txt").write_bytes(b"\xef\xbb\xbf# by hand\r\n2: 002\r\n1: 2 1\r\n")
    shown = said("score", written)
    assert table_in(shown) == {
        "old": (2, 75, 50, 62), "new": (2, 50, 0, 25), PERSON: (2, 100, 75, 88), STRANGER: (2, 25, 0, 12),
    }  # fmt: skip
    # old    sensible (0 + 1 + 1 + 1) / 4, specific (0 + 0 + 1 + 1) / 4
    # new    sensible (0 + 1 + 1 + 0) / 4, specific none
    # person sensible (1 + 1 + 1 + 1) / 4, specific (0 + 1 + 1 + 1) / 4
    # random sensible (0 + 1 + 0 + 0) / 4, specific none
    assert "old is hred-old." in shown
    assert "anna and ben agree on 5 replies: sensible on 60% (kappa 0.17), specific on 80% (kappa 0.55)." in shown


def table_in(output: str) -> dict[str, tuple[int, ...]]:
    """System -> contexts, sensible, specific, SSA, without their intervals."""
    figure = r"(\d+)(?: \(\d+-\d+\))?"
    row = re.compile(rf"^ *(\S.*?) {{2,}}(\d+) +{figure} +{figure} +{figure} *$", re.MULTILINE)
    return {name: tuple(map(int, figures)) for name, *figures in row.findall(output)}


def test_intervals_are_over_contexts_and_not_over_readers() -> None:
    alike = [Marked("one", number, Mark(number % 2 == 0, False)) for number in range(50)]
    [once], [thrice] = scores(alike), scores(alike * 3)
    assert once.ssa == thrice.ssa
    assert (once.contexts, once.marks, thrice.marks) == (50, 50, 150)
    assert once.sensible.interval
    low, high = once.sensible.interval
    assert 0.3 < low < 0.45 < 0.55 < high < 0.7
    [alone] = scores([Marked("one", 1, Mark(True, True))])
    assert (alone.ssa.value, alone.ssa.interval) == (1.0, None)


def test_cohens_kappa_is_that_of_a_worked_table() -> None:
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    share, kappa = agreement(pairs)
    assert share == 0.7
    assert kappa == pytest.approx(0.4)  # (0.7 - 0.5) / (1 - 0.5)
    assert agreement([(True, True)] * 3) == (1.0, None)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("hello", "it does not begin with the number of a context and a colon"),
        ("1: yes no", "marks are 0, 1 or 2, one of them with a * perhaps"),
        ("1: 0 3", "marks are 0, 1 or 2, one of them with a * perhaps"),
        ("1 (2 replies): 0 1 2", "context 1 has 2 replies, and this line gives 3 marks"),
        ("1: 1", "context 1 has 2 replies, and this line gives 1 mark"),
        ("3: 1 1", "the pile has no context 3"),
        ("0: 1 1", "the pile has no context 0"),
        ("2: 1 1 1", "context 2 has marks already"),
        ("1: 1* 2*", "no more than one reply is the best, and it is sensible"),
        ("1: 0* 1", "no more than one reply is the best, and it is sensible"),
        ("1: " + "1  " * 40 + "x", "marks are 0, 1 or 2, one of them with a * perhaps"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line_and_the_rest_counts(written: Path, line: str, fault: str) -> None:
    (written / "marks.anna.txt").write_text(f"# mine\n\n2: 2 0 1\n{line}\n")
    ran = blind("score", written)
    assert ran.exit_code == 0
    assert f"marks.anna.txt, line 4: {fault}; the line is left out.\n" in ran.stderr
    assert "marks.anna.txt has no marks for 1 of 2 contexts: 1.\n" in ran.stderr
    assert table_in(ran.stdout) == {
        "old": (1, 100, 0, 50), "new": (1, 100, 100, 100), PERSON: (1, 100, 0, 50), STRANGER: (1, 0, 0, 0),
    }  # fmt: skip


def test_where_nothing_can_be_scored_the_command_fails(written: Path, tmp_path: Path) -> None:
    ran = blind("score", written)
    assert (ran.exit_code, "a reader's marks come as marks.NAME.txt" in ran.stderr) == (2, True)
    (written / "marks.anna.txt").write_text((written / "marks.txt").read_text() + "nonsense")
    ran = blind("score", written)
    assert ran.exit_code == 2
    assert "line 19: it does not begin" in ran.stderr
    assert "nothing to score" in ran.stderr
    (written / "key.json").write_text('{"checkpoints": {}, "items": [{"id": 1}]}')
    assert "is not the key of a pile" in blind("score", written).stderr
    assert blind("score", tmp_path / "nowhere").exit_code == 2


# Judgements


def test_judgements_have_the_form_of_those_that_are_shipped(written: Path, tmp_path: Path) -> None:
    (written / "marks.anna.txt").write_text("2: 1 0 2*\n")
    (written / "marks.ben.txt").write_text("1: 0 1\n")
    out = tmp_path / "judged.jsonl.xz"
    assert "Wrote 2 judged contexts" in said("judgements", written, out)
    first, second = map(json.loads, lzma.decompress(out.read_bytes()).splitlines())
    with lzma.open(Path(training.__path__[0]) / "judgements.jsonl.xz", "rt", encoding="utf-8") as lines:
        shipped = json.loads(next(lines))
    assert list(first) == list(shipped)
    assert list(first["candidates"][0]) == list(shipped["candidates"][0])
    assert first == {
        "id": "a/2", "turn": 3, "reader": "anna", "context": ["Cold?", "No.", "Good."],
        "candidates": [
            {"text": "Yes.", "from": "new", "sensible": 1, "specific": 0, "best": 0},
            {"text": "My dog.", "from": STRANGER, "sensible": 0, "specific": 0, "best": 0},
            {"text": "It is May.", "from": "person, old", "sensible": 1, "specific": 1, "best": 1},
        ],
    }  # fmt: skip
    assert (second["reader"], second["id"]) == ("ben", "a/1")
    again = blind("judgements", written, out)
    assert (again.exit_code, "is there already" in again.output) == (2, True)
