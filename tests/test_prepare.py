import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data import preparation
from data.commands import prepare
from data.corpus import Corpus
from data.formats.corpora import chitchat
from data.preparation import assign_splits
from data.store import TokenStore
from data.vocabulary import Vocabulary

SAMPLES = Path(__file__).parent / "samples"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(prepare, [str(argument) for argument in arguments])


def texts(folder: Path, kind: str, split: str) -> list[tuple[str, ...]]:
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    store = TokenStore.open(folder / kind / split)
    return [tuple(vocabulary.decode(ids.tolist()) for ids in store[place]) for place in range(len(store))]


def all_texts(folder: Path) -> list[tuple[str, ...]]:
    kinds = [(kind, split) for kind in ("pairs", "dialogues") for split in ("train", "validation", "test")]
    return [one for kind, split in kinds for one in texts(folder, kind, split)]


def write_chat(file: Path, *dialogues: tuple[str, ...]) -> Path:
    lines = [{"id": str(place), "messages": [{"content": text} for text in one]} for place, one in enumerate(dialogues)]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "out"
    result = run(SAMPLES, "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_the_samples_come_back_from_the_store_as_they_were_written(prepared: Path) -> None:
    found = all_texts(prepared)
    assert ("Do you trust him?", "More than I trust you.") in found
    assert ("Can you fix it by Friday?", "Which Friday?") in found
    assert (
        "Where are you from?",
        "I grew up in a small village by the sea.",
        "Do you miss it?",
        "Every summer I do.",
    ) in found


def test_pairs_and_longer_dialogues_lie_apart_and_every_split_exists(prepared: Path) -> None:
    for split in ("train", "validation", "test"):
        assert {len(one) for one in texts(prepared, "pairs", split)} <= {2}
        assert all(len(one) > 2 for one in texts(prepared, "dialogues", split))
        assert len(TokenStore.open(prepared / "dialogues" / split)) > 0
        assert len(TokenStore.open(prepared / "pairs" / split)) > 0


def test_no_film_is_divided_between_splits(prepared: Path) -> None:
    lighthouse = {"Who told you that?", "And did he?", "Then count them. There are ninety-nine."}
    holding = [
        split
        for split in ("train", "validation", "test")
        if lighthouse & {text for pair in texts(prepared, "pairs", split) for text in pair}
    ]
    assert len(holding) == 1


def test_the_report_adds_up(prepared: Path) -> None:
    report = json.loads((prepared / "report.json").read_text())
    stored = sum(sizes["utterances"] for splits in report["splits"].values() for sizes in splits.values())
    assert stored == sum(kept["utterances"] for kept in report["kept"].values())
    assert report["dropped"]["subtitles"]["lyrics"] == 1
    assert report["dropped"]["subtitles"]["advertising"] == 1
    assert report["skipped"] == []


def test_the_same_seed_gives_the_same_folder_and_another_seed_another_split(tmp_path: Path, prepared: Path) -> None:
    assert run(SAMPLES, "--out", tmp_path / "same").exit_code == 0
    assert run(SAMPLES, "--out", tmp_path / "other", "--seed", 1).exit_code == 0
    same, first, other = (texts(out, "dialogues", "test") for out in (tmp_path / "same", prepared, tmp_path / "other"))
    assert same == first != other


def test_what_was_said_before_is_left_out(tmp_path: Path) -> None:
    source = write_chat(
        tmp_path / "a.jsonl", ("Hi there.", "Hello!", "Bye."), ("hi there", "hello", "bye"), ("Hm?", "Yes.")
    )
    assert "duplicate 3" in run(source, "--out", tmp_path / "out").stdout
    assert len(all_texts(tmp_path / "out")) == 2


def test_an_unfit_utterance_breaks_its_dialogue_in_two(tmp_path: Path) -> None:
    long = ("One.", "Two.", "Mail me@example.org now", "Three.", "Four.", "Five.", "...", "Alone.")
    result = run(write_chat(tmp_path / "a.jsonl", long), "--out", tmp_path / "out")
    assert sorted(all_texts(tmp_path / "out")) == [("One.", "Two."), ("Three.", "Four.", "Five.")]
    for reason in ("address or link 1", "no words 1", "left alone 1"):
        assert reason in result.stdout


def test_a_vocabulary_can_be_kept(tmp_path: Path, prepared: Path) -> None:
    source = write_chat(tmp_path / "a.jsonl", ("Hello zebra.", "Hello.", "Bye."))
    assert run(source, "--out", tmp_path / "out", "--vocabulary", prepared / "vocabulary.json").exit_code == 0
    assert (tmp_path / "out/vocabulary.json").read_bytes() == (prepared / "vocabulary.json").read_bytes()


def test_the_vocabulary_is_counted_on_the_training_split_alone(prepared: Path) -> None:
    words = {token.strip("￭").lower() for token in Vocabulary.load(prepared / "vocabulary.json").tokens[4:]}
    trained = " ".join(
        text for kind in ("pairs", "dialogues") for one in texts(prepared, kind, "train") for text in one
    )
    assert all(word in trained.lower() for word in words)


def test_half_an_emoji_in_a_chat_log_spoils_nothing_else(tmp_path: Path) -> None:
    broken = [("Hello \ud83d there", f"Hi number {number}", "Good morning", "Sleep well") for number in range(9)]
    result = run(write_chat(tmp_path / "chat.jsonl", *broken), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    assert ("Hi number 5", "Good morning", "Sleep well") in all_texts(tmp_path / "out")


def test_a_file_that_cannot_be_opened_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    bad: list[tuple[str, str]] = []
    for name in ("gone.txt", "here.txt"):
        (tmp_path / name).write_text("Hello.\nHi.\n")
    corpus = Corpus([tmp_path], lambda *fault: bad.append(fault))
    (tmp_path / "gone.txt").unlink()
    assert [document.stem for document in corpus.documents()] == ["here"]
    assert bad == [(str(tmp_path / "gone.txt"), "not readable")]


def test_a_linked_folder_is_read_and_none_is_read_twice(tmp_path: Path) -> None:
    for name in ("here/a.txt", "elsewhere/b.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("Hello.\nHi.\n")
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "here")
    corpus = Corpus([tmp_path / "here"], lambda *fault: None)
    assert [document.stem for document in corpus.documents()] == ["a", "b"]


def test_bad_files_are_named_and_counted_and_the_rest_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_chat(tmp_path / "in/good.jsonl", ("Hi.", "Hello.", "Bye."))
    (tmp_path / "in/binary.srt").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "in/empty.txt").write_bytes(b"")
    (tmp_path / "in/wrong.srt").write_text("no times here")
    (tmp_path / "in/cut.jsonl.xz").write_bytes(b"\xfd7zXZ\x00broken")
    result = run(tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 0
    for name in ("binary.srt: binary", "empty.txt: empty", "wrong.srt: holds no", "cut.jsonl: truncated"):
        assert name in result.stderr
    assert "4 files skipped" in result.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "No dialogue is left to learn from: a.txt: empty."),
        (b"...\n???\n", r"2 utterances were left out (no words)"),
    ],
)
def test_if_nothing_is_left_one_sentence_says_so_and_the_exit_code_is_2(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    result = run(tmp_path / "a.txt", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt"]


def test_impossible_arguments_are_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    for arguments in (
        (tmp_path / "missing", "--out", tmp_path / "out"),
        (SAMPLES, "--out", tmp_path),  # holds something else
        (SAMPLES, "--out", tmp_path / "out", "--vocabulary", SAMPLES / "cafe.srt"),
    ):
        (tmp_path / "mine.txt").write_text("do not touch")
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stderr.strip().endswith(".")
    assert (tmp_path / "mine.txt").read_text() == "do not touch"


def test_a_prepared_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("One.", "Two."):
        assert run(write_chat(tmp_path / "a.jsonl", (text, "Hello.", "Bye.")), "--out", tmp_path / "out").exit_code == 0
    assert all_texts(tmp_path / "out") == [("Two.", "Hello.", "Bye.")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "out"]


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    pipe = tmp_path / "never_ending.jsonl"
    os.mkfifo(pipe)
    out = tmp_path / "work" / "out"
    script = f"""
from pathlib import Path
from data import preparation
class Endless(preparation.Corpus):
    size = 1 << 30
    def documents(self):
        document = next(super().documents())
        while True:
            yield document
preparation.Corpus = Endless
preparation.DialogueReader.read = lambda self, document: [preparation.Dialogue("a", "a", "a", ("Hi.", "Hello."))]
preparation.prepare([{str(SAMPLES / "shop_talk.jsonl")!r}], Path({str(out)!r}), preparation.PrepareConfig())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(out.parent.glob(".out.*/new/scratch/tokens.npy")):
        assert process.poll() is None
        time.sleep(0.05)
    for _ in range(3):  # one that comes while a library calls back into Python may be lost
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
            break
    assert process.returncode
    assert list(out.parent.iterdir()) == []


def test_splits_follow_the_group_alone_and_small_corpora_have_all_three() -> None:
    groups = np.random.default_rng(0).integers(0, 2**64, 5000, dtype=np.uint64)
    splits = assign_splits(np.concatenate([groups, groups]), np.arange(10_000) < 5000)
    assert (splits[:5000] == splits[5000:]).all()
    assert 0.005 < (splits == 1).mean() < 0.015
    assert 0.005 < (splits == 2).mean() < 0.015
    show = np.where(np.arange(10_000) < 300, np.uint64(0), np.concatenate([groups, groups]))
    assert (assign_splits(show, np.zeros(10_000, bool))[:300] == 0).all()  # 3 % of all in one group
    few = assign_splits(np.array([2**63, 2**63 + 1, 2**63 + 2], np.uint64), np.zeros(3, bool))
    assert sorted(few) == [0, 1, 2]


def test_the_split_of_chitchat_does_not_depend_on_what_else_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = list(islice(chitchat(), 600))
    monkeypatch.setitem(preparation.INSTALLED, "chitchat", lambda: iter(chats))
    assert run("chitchat", "--out", tmp_path / "alone").exit_code == 0
    kept = ("--vocabulary", tmp_path / "alone/vocabulary.json")
    assert run("chitchat", SAMPLES, "--out", tmp_path / "together", *kept).exit_code == 0
    for split in ("validation", "test"):
        alone = set(texts(tmp_path / "alone", "dialogues", split))
        assert alone
        assert alone <= set(texts(tmp_path / "together", "dialogues", split))


def test_the_name_of_a_file_does_not_command_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "\x1b[2J\x1b]0;owned\x07.txt").write_text(" ")
    os.mknod(os.fsencode(tmp_path / "corpus") + b"/\xff.txt")
    (tmp_path / "corpus" / "good.txt").write_text("Hello there.\nHow are you?\n")
    result = run(tmp_path / "corpus", "--out", tmp_path / "out")
    assert result.stderr.count("Skipped") == 2
    assert not any(sign in result.output for sign in "\x1b\x07\udcff")
