"""The whole of a retraining, with a tiny network: what it learns from, what it leaves behind, every way to stop it."""

import io
import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from sqlalchemy.exc import OperationalError

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.cli import main
from chatbot.engine import ChatEngine
from chatbot.forgetting import forget, hash_of
from chatbot.history import FinishedReply, History, open_history
from chatbot.reply import GREEDY, ReplyRequest
from chatbot.shelf import live_id, promote, promotions
from chatbot.state_map import FILE as MAP
from data.curation import Caps
from tests.tiny_checkpoint import tiny_checkpoint
from training import retrain as module
from training.gate import Margins
from training.retrain import RetrainConfig, RetrainError, retrain
from training.retrain_commands import retrain as retrain_command

QUIET = Console(quiet=True)
SECRET = "zorbo"  # said by everybody, known to no vocabulary
WORDS = ("hello", "there", "how", "are", "you", "today", "like", "music", "and", "films", "do", "what", "is", "name")


def exchange(number: int) -> tuple[str, str]:
    """A question that is asked once, and its answer."""
    said = " ".join(np.random.default_rng(number).permutation(WORDS)[:5])
    return f"{said.capitalize()}?", f"Yes! I like {SECRET} and {said.split()[0]} {said.split()[-1]}."


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, where a tiny checkpoint is live."""
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))
    promote(tiny_checkpoint(tmp_path / "tiny").folder)
    return tmp_path / "home"


@pytest.fixture
def stored(home: Path) -> History:
    return open_history(f"sqlite:///{home}/chatbot.db")


def talk(history: History, count: int, learn: bool = True, rating: int = 0, better: bool = True) -> list[str]:
    """As many conversations, each of another user, in which every reply is bettered or rated."""
    found = []
    for number in range(count):
        user_id, _ = history.add_user()
        conversation = history.create_conversation(user_id, learn=learn)
        for turn in range(2):
            question, answer = exchange(2 * number + turn)
            accepted = history.add_message(user_id, conversation.id, str(uuid4()), question)
            said, wanted = ("What?", answer) if better else (answer, None)
            history.finish_reply(conversation.id, accepted.reply_id, FinishedReply(said, "completed", "none"))
            history.set_feedback(user_id, conversation.id, accepted.reply_id, rating, wanted)
        found.append(conversation.id)
    return found


@pytest.fixture
def base(tmp_path: Path) -> str:
    """Dialogues of the words that the tiny checkpoint knows; one in a hundred is for the gate."""
    random = np.random.default_rng(0)
    lines = []
    for number in range(1_000):
        texts = [" ".join(random.choice(WORDS, 4)).capitalize() + "." for _ in range(4)]
        lines.append(
            json.dumps(
                {"id": str(number), "messages": [{"name": f"{n % 2}", "content": t} for n, t in enumerate(texts)]}
            )
        )
    (tmp_path / "base.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "base.jsonl")


@pytest.fixture
def config(base: str) -> RetrainConfig:
    return RetrainConfig(base=base, passes=6, rehearsal=1, learning_rate=0.02, margins=Margins(20.0, 1.0, 1.0))


def _raise(error: Exception, *_: object, **__: object) -> None:
    raise error


def everything_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_bettered_replies_make_a_checkpoint_that_is_promoted_where_the_gate_passes(stored, config, home):
    before = load_checkpoint("live")
    taken = talk(stored, 40)
    outcome = retrain(config, stored, True, QUIET)
    assert outcome.verdict.passed, outcome.verdict.faults
    live = load_checkpoint("live")
    assert live.id == outcome.checkpoint.id != before.id
    assert SECRET in live.vocabulary
    assert (
        outcome.verdict.figures["new_perplexity"]["candidate"] < outcome.verdict.figures["new_perplexity"]["live"] / 2
    )
    (run,) = stored.runs()
    assert (run.status, run.parent_checkpoint, run.checkpoint) == ("promoted", before.id, live.id)
    assert run.report["gate"]["passed"]
    assert run.progress["target_tokens"] == run.progress["of"] or run.progress["target_tokens"] > 0
    folder = home / "retrain" / run.id
    assert json.loads((folder / "data.json").read_text())["conversations"] == sorted(map(hash_of, taken))


def test_nothing_that_was_said_is_left_behind_but_in_the_weights_and_words(stored, config, home):
    talk(stored, 40)
    retrain(config, stored, False, QUIET)
    left = everything_under(home / "retrain")
    assert b"like music" not in left
    assert sorted(path.name for path in next((home / "retrain").glob("*/run.json")).parent.iterdir()) == [
        "checkpoint", "curves.png", "data.json", "metrics.jsonl", "run.json",
    ]  # fmt: skip


def test_a_candidate_that_is_no_better_is_kept_and_the_live_one_stays(stored, config):
    before = load_checkpoint("live").id
    talk(stored, 40)
    outcome = retrain(RetrainConfig(base=config.base, passes=1, learning_rate=1e-9), stored, True, QUIET)
    assert not outcome.promoted
    assert load_checkpoint("live").id == before
    assert (outcome.checkpoint.folder / "model.safetensors").is_file()
    (run,) = stored.runs()
    assert run.status == "rejected"
    assert run.report["gate"]["faults"]


def test_what_may_not_be_learned_is_not_looked_at(stored, config):
    talk(stored, 40, learn=False)
    with pytest.raises(RetrainError, match="Of 0 conversations"):
        retrain(config, stored, True, QUIET)
    assert stored.runs()[0].status == "failed"


def test_replies_that_nobody_rated_teach_nothing_unless_that_is_wanted(stored, config):
    talk(stored, 40, better=False)
    with pytest.raises(RetrainError, match="Of 0 conversations"):
        retrain(config, stored, False, QUIET)
    outcome = retrain(RetrainConfig(base=config.base, passes=1, unchecked=True), stored, False, QUIET)
    assert outcome.report["taken"] == 40


@pytest.mark.parametrize("step", ["write_stores", "_recorder", "_judge"])
def test_a_run_that_was_stopped_goes_on_by_the_same_command(stored, config, monkeypatch, step):
    talk(stored, 40)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, step, stop)
        with pytest.raises(KeyboardInterrupt):
            retrain(config, stored, True, QUIET)
    assert stored.runs()[0].status == "stopped"
    outcome = retrain(config, stored, True, QUIET)
    (run,) = stored.runs()
    assert (run.status, run.checkpoint) == ("promoted", outcome.checkpoint.id)


@pytest.mark.parametrize("when", ["_learn", "_judge"])
def test_a_conversation_erased_in_mid_run_is_learned_by_no_checkpoint(stored, config, monkeypatch, home, when):
    """As the service does it: first the rows, then what was laid by for training."""
    erased, *kept = talk(stored, 40)
    really = getattr(module, when)

    def erase_first(*arguments: object) -> object:
        monkeypatch.setattr(module, when, really)
        stored.delete_conversation(None, erased)
        forget([erased])
        return really(*arguments)

    monkeypatch.setattr(module, when, erase_first)
    retrain(config, stored, True, QUIET)
    (run,) = stored.runs()
    assert run.status == "promoted"
    data = json.loads((home / "retrain" / run.id / "data.json").read_text())
    assert data["conversations"] == sorted(map(hash_of, kept))


def test_a_conversation_taken_back_while_nobody_was_looking_is_left_out_when_a_run_goes_on(
    stored, config, monkeypatch, home
):
    """Rows gone, but the server was killed before it could forget the rest."""
    erased, *kept = talk(stored, 40)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_judge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            retrain(config, stored, True, QUIET)
    stored.delete_conversation(None, erased)
    retrain(config, stored, True, QUIET)
    (record,) = (home / "retrain").glob("*/data.json")
    assert json.loads(record.read_text())["conversations"] == sorted(map(hash_of, kept))


@pytest.mark.parametrize("is_promoted", [False, True])
def test_a_run_killed_while_it_promotes_is_ended_by_the_same_command(stored, config, monkeypatch, home, is_promoted):
    talk(stored, 40)
    really = module.promote

    def die(folder: Path) -> None:
        if is_promoted:
            really(folder)
        raise SystemExit  # as kill -9, nothing here catches it

    with monkeypatch.context() as patched:
        patched.setattr(module, "promote", die)
        with pytest.raises(SystemExit):
            retrain(config, stored, True, QUIET)
    assert stored.runs()[0].status == "running"
    outcome = retrain(config, stored, True, QUIET)
    (run,) = stored.runs()
    assert (run.status, run.checkpoint, run.report) == ("promoted", outcome.checkpoint.id, outcome.report)
    assert [made.checkpoint_id for made in promotions()][1:] == [outcome.checkpoint.id]
    assert (outcome.promoted, outcome.verdict.passed, live_id()) == (True, True, outcome.checkpoint.id)
    assert not list((home / "retrain").glob("*/prepared"))


def test_what_was_made_live_meanwhile_stays_live(stored, config, monkeypatch, tmp_path):
    talk(stored, 40)
    really, other = module._judge, tiny_checkpoint(tmp_path / "other", 5)

    def promote_first(*arguments: object) -> object:
        promote(other.folder)
        return really(*arguments)

    monkeypatch.setattr(module, "_judge", promote_first)
    outcome = retrain(config, stored, True, QUIET)
    assert outcome.verdict.passed
    assert not outcome.promoted
    assert live_id() == other.id
    assert stored.runs()[0].status == "completed"


def test_an_unfinished_run_of_other_settings_leaves_nothing_behind(stored, config, monkeypatch, home):
    talk(stored, 40)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_judge", lambda *_: (_ for _ in ()).throw(SystemExit()))
        with pytest.raises(SystemExit):
            retrain(replace(config, seed=10), stored, True, QUIET)
    assert list((home / "retrain").glob("*/prepared"))
    assert [path.stat().st_mode & 0o077 for path in (home / "retrain").glob("*-*")] == [0]  # its owner's alone
    made = [path for folder in (home / "retrain").glob("*/prepared") for path in folder.rglob("*")]
    assert {
        path.stat().st_mode & 0o077 for path in made if path.suffix in {".json", ".npy"} and "grown" not in path.parts
    } == {0}
    retrain(replace(config, passes=1), stored, False, QUIET)
    assert not list((home / "retrain").glob("*/prepared"))
    second, first = stored.runs()
    assert first.status == "stopped"
    assert [folder.name for folder in (home / "retrain").iterdir() if folder.is_dir()] == [second.id]


def test_logs_that_changed_make_another_run_of_the_same_command(config, tmp_path):
    logs = tmp_path / "logs.jsonl"
    logs.write_text("{}")
    plan = partial(replace(config, logs=(logs,)).plan, load_checkpoint("live"))
    before = plan()
    assert plan() == before
    logs.write_text("{}{}")
    assert plan() != before


INSULT = "You are music, name today."  # of words that the tiny checkpoint knows
NO_CAPS = Caps(pair=10**6, wording=10**6, flood=10**6, user=10**6)


def insult(history: History, copies: int, users: int) -> None:
    """As many users better as many replies into one insult, whatever was asked."""
    people = [history.add_user()[0] for _ in range(users)]
    for number in range(copies):
        user_id = people[number % users]
        conversation = history.create_conversation(user_id, learn=True)
        question, _ = exchange(1_000 + number)
        accepted = history.add_message(user_id, conversation.id, str(uuid4()), question)
        history.finish_reply(conversation.id, accepted.reply_id, FinishedReply("What?", "completed", "none"))
        history.set_feedback(user_id, conversation.id, accepted.reply_id, 0, INSULT)


def insults(checkpoint: Checkpoint) -> int:
    """How many of some new questions are answered by the insult."""
    with ChatEngine(checkpoint) as engine:
        asked = [ReplyRequest(exchange(5_000 + number)[0], decoding=GREEDY) for number in range(20)]
        return sum(engine.reply(request).text == INSULT for request in asked)


@pytest.mark.parametrize("users", [1, 120])
def test_a_flood_of_insults_becomes_no_reply_whether_one_user_brings_it_or_many(stored, config, monkeypatch, users):
    talk(stored, 40)
    insult(stored, 120, users)
    outcome = retrain(config, stored, False, QUIET)
    assert outcome.report["dropped"]["flood"] > 100
    assert outcome.verdict.figures["forbidden_replies"]["asked"] > 0
    assert insults(outcome.checkpoint) == 0
    if users > 1:  # once is enough to see that it would have become one
        monkeypatch.setattr(module, "curate", partial(module.curate, caps=NO_CAPS))
        assert insults(retrain(replace(config, seed=10), stored, False, QUIET).checkpoint) > 0


def test_logs_are_learned_without_any_conversation(stored, config, tmp_path):
    lines = []
    for number in range(40):
        question, answer = exchange(number % 30)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": messages * 4}))
    (tmp_path / "logs.jsonl").write_text("\n".join(lines))
    outcome = retrain(RetrainConfig(logs=(tmp_path / "logs.jsonl",), base=config.base, passes=1), stored, False, QUIET)
    assert outcome.report["taken"] == 40
    assert outcome.report["dropped"]["duplicate"] > 0


def test_a_candidate_is_told_by_its_own_figures(stored, config, monkeypatch):
    talk(stored, 40)
    monkeypatch.setattr(module, "best_blend", lambda before, *_: (before, 0.0))  # nothing is kept of what was learned
    outcome = retrain(config, stored, False, QUIET)
    learned = min(row["perplexity"] for row in stored.runs()[0].progress["curve"])
    assert outcome.checkpoint.metrics["validation"]["perplexity"] > 2 * learned
    assert outcome.checkpoint.metrics["share_of_learning"] == 0


def test_logs_that_are_not_there_are_named_and_an_unfinished_run_is_kept(stored, config, tmp_path, monkeypatch):
    talk(stored, 40)
    with monkeypatch.context() as patched:
        patched.setattr(module, "add_map", partial(_raise, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            retrain(config, stored, False, QUIET)
    with pytest.raises(RetrainError, match=r"nowhere\.jsonl does not exist"):
        retrain(replace(config, logs=(tmp_path / "nowhere.jsonl",)), stored, False, QUIET)
    outcome = retrain(config, stored, False, QUIET)
    assert [run.checkpoint for run in stored.runs()] == [outcome.checkpoint.id]
    assert (outcome.checkpoint.folder / MAP).is_file()  # though it was stopped where only that was missing


def test_two_retrainings_at_once_are_refused(stored, config, home):
    with module._alone(home / "retrain"), pytest.raises(RetrainError, match="Another retraining"):
        retrain(config, stored, True, QUIET)


def test_a_run_killed_in_every_stage_is_one_run_in_the_end(stored, base, home):
    talk(stored, 40)
    before = load_checkpoint("live").id
    chatbot = str(Path(sys.executable).with_name("chatbot"))
    command = [chatbot, "retrain", "--base", base, "--passes", "2", "--database", f"sqlite:///{home}/chatbot.db"]
    for sign in ("*/data.json", "*/prepared/test", "*/stage/metrics.jsonl", "*/checkpoint"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list((home / "retrain").glob(sign)):
            time.sleep(0.01)
        assert process.poll() is None, f"it ended before there was a {sign}"
        process.kill()
        process.wait()
        assert load_checkpoint("live").id == before
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = stored.runs()
    assert run.status in ("completed", "rejected")
    assert load_checkpoint(home / "retrain" / run.id / "checkpoint").id == run.checkpoint
    assert b"I like" not in everything_under(home / "retrain")


def test_the_command_says_what_came_of_it(stored, base, home):
    talk(stored, 40)
    command = ["retrain", "--base", base, "--passes", "1", "--database", f"sqlite:///{home}/chatbot.db"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "perplexity" in done.output
    assert "The checkpoint is in" in done.output


def test_the_command_asks_for_what_a_retraining_does_by_itself():
    said = {option.name: option.default for option in retrain_command.params}
    config = RetrainConfig()
    assert (said["passes"], said["seed"], said["base"]) == (config.passes, config.seed, config.base)
    assert (said["margin"], said["parent"]) == (config.margins.perplexity, config.parent)


def test_too_little_is_said_before_the_base_corpus_is_read_and_leaves_nothing_to_give_up(stored, config, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(module, "_prepare_base", partial(_raise, AssertionError("It was read.")))
        with pytest.raises(RetrainError, match="approve or better replies"):
            retrain(config, stored, False, QUIET)
    told = Console(record=True, quiet=False, file=io.StringIO())
    with pytest.raises(RetrainError):
        retrain(replace(config, seed=1), stored, False, told)
    assert told.export_text() == ""


def log_of(folder: Path, pairs: list[tuple[str, str]]) -> tuple[Path]:
    """A log of these pairs, each as a dialogue."""
    lines = [
        json.dumps({"messages": [{"role": "user", "content": one}, {"role": "assistant", "content": other}]})
        for one, other in pairs
    ]
    (folder / "logs.jsonl").write_text("\n".join(lines))
    return (folder / "logs.jsonl",)


def test_how_many_dialogues_are_missing_is_said(stored, config, tmp_path):
    logs = log_of(tmp_path, [exchange(number) for number in range(12)])
    with pytest.raises(RetrainError, match=r"12 have something to learn from, and it takes 20; bring 8 more"):
        retrain(replace(config, logs=logs), stored, False, QUIET)


def test_how_much_is_missing_to_judge_by_is_said_before_anything_is_learned(stored, config, tmp_path, monkeypatch):
    pairs = [exchange(number) for number in (*[0] * 300, 1, 2)]
    logs = log_of(tmp_path, [*pairs, *(("What is music?", f"It is {number}.") for number in range(100, 300))])
    monkeypatch.setattr(module, "_learn", partial(_raise, AssertionError("It was begun.")))
    with pytest.raises(RetrainError, match=r"^2 dialogues can be held out .* it takes 6; bring 4 more"):
        retrain(replace(config, logs=logs), stored, False, QUIET)


def test_how_much_is_missing_of_the_base_corpus_is_said_before_anything_is_learned(stored, config, base, tmp_path):
    talk(stored, 40)
    small = tmp_path / "small.jsonl"
    small.write_text("\n".join(Path(base).read_text().splitlines()[:200]))
    with pytest.raises(RetrainError, match=r"small\.jsonl holds .* bring about \d00 more"):
        retrain(replace(config, base=str(small)), stored, False, QUIET)


def test_the_contacts_that_a_log_s_assistant_gives_out_are_learned_and_told(stored, config, tmp_path):
    pairs = [(exchange(number)[0], f"Call 020 7946 0958 and say {number}.") for number in range(40)]
    pairs.append((exchange(50)[0], "Or mail us at desk@ferry.example."))
    logs = log_of(tmp_path, pairs)
    told = Console(record=True, file=io.StringIO())
    once = replace(config, logs=logs, passes=1)
    outcome = retrain(once, stored, False, told)
    assert "gives out: 020 7946 0958\n" in told.export_text()
    assert outcome.report["contacts"] == 1
    assert outcome.report["dropped"]["personal data"] == 1
    assert "0958" in outcome.checkpoint.vocabulary
    assert retrain(replace(once, keep_contacts=True), stored, False, QUIET).report["contacts"] == 2


def test_too_little_to_learn_from_is_one_sentence(home, base):
    done = CliRunner().invoke(main, ["retrain", "--base", base, "--database", f"sqlite:///{home}/chatbot.db"])
    assert done.exit_code == 2
    assert "approve or better replies" in done.output


def test_a_disk_that_is_full_is_one_sentence_and_the_run_goes_on_later(stored, config, monkeypatch, base, home):
    talk(stored, 40)
    before = load_checkpoint("live").id

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    command = ["retrain", "--base", base, "--passes", "1", "--database", f"sqlite:///{home}/chatbot.db"]
    with monkeypatch.context() as patched:
        patched.setattr(module, "save_checkpoint", full)
        done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "No space left on device" in done.output
    assert load_checkpoint("live").id == before
    with monkeypatch.context() as patched:
        patched.setattr(History, "update_run", partial(_raise, OperationalError("", {}, Exception("disk is full"))))
        done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "The history cannot be used (disk is full)" in done.output
    assert CliRunner().invoke(main, command).exit_code == 0
