"""`chatbot models list|show|promote|rollback` as a person calls them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatbot.checkpoint import load_checkpoint
from chatbot.cli import main
from tests.tiny_checkpoint import tiny_checkpoint


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "var"))
    shipped = tiny_checkpoint(tmp_path / "shipped", seed=9)
    monkeypatch.setattr("chatbot.shelf.SHIPPED", shipped.folder)
    return shipped.id


def models(*arguments: str, fails: bool = False) -> str:
    ran = CliRunner().invoke(main, ["models", *arguments], env={"COLUMNS": "120"})
    assert ran.exit_code == (2 if fails else 0), ran.output
    if fails:
        assert len(ran.stderr.splitlines()) == 1
    return ran.output


def row_of(checkpoint_id: str) -> str:
    [row] = [line for line in models("list").splitlines() if checkpoint_id in line]
    return row


def test_the_list_says_which_is_live_and_how_well_each_does(shipped: str, tmp_path: Path) -> None:
    assert "live, default" in row_of(shipped)
    first = tiny_checkpoint(tmp_path / "first", 1)
    assert f"{first.id} is live. A running server" in models("promote", str(first.folder))
    assert "99.00" in row_of(first.id)
    assert "live" in row_of(first.id)
    assert "live" not in row_of(shipped)
    assert f"{shipped} is live again." in models("rollback")
    assert "live, default" in row_of(shipped)
    models("promote", first.id)
    lines = models("list").splitlines()
    assert [line for line in lines if "hred-" in line][-1] == row_of(first.id)


@pytest.mark.parametrize("metrics", ["[1]", "{]", "\xff", '{"validation": {"perplexity": "low"}}', None])
def test_the_list_shows_checkpoints_that_are_broken(shipped: str, tmp_path: Path, metrics: str | None) -> None:
    first = tiny_checkpoint(tmp_path / "first", 1)
    models("promote", str(first.folder))
    kept = load_checkpoint("live").folder
    (kept / "model.safetensors").unlink()
    (kept / "metrics.json").unlink()
    if metrics is not None:
        (kept / "metrics.json").write_bytes(metrics.encode("latin-1"))
    assert "live" in row_of(first.id)


def test_a_link_to_nothing_is_listed_as_live(tmp_path: Path) -> None:
    (tmp_path / "var" / "checkpoints").mkdir(parents=True)
    (tmp_path / "var" / "checkpoints" / "live").symlink_to("hred-nowhere")
    assert "live" in row_of("hred-nowhere")


def test_show_tells_sizes_and_whatever_was_measured(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "one")
    measured = {
        "parent": "hred-aaaaaaaaaaaa",
        "target_tokens": 21160458,
        "gate": {"base": {"perplexity": 27.651353515598174, "interval": [27.1, 28.2]}},
        "nothing": None,
        "escape": "\x1b[2J\x9b",
        "[bold]": "[red]text[/red]",
        "long": "x" * 1000,
        "deep": {"a": {"b": {"c": {"d": 1}}}},
    }
    (checkpoint.folder / "metrics.json").write_text(json.dumps(measured))
    shown = models("show", str(checkpoint.folder))
    rows = {
        name.strip(): value.strip() for name, _, value in (line[1:-1].partition("│") for line in shown.splitlines())
    }
    assert rows["id"] == checkpoint.id
    assert rows["state_size"] == "10"
    assert rows["target_tokens"] == "21,160,458"
    assert rows["gate base perplexity"] == "27.6514"
    assert rows["gate base interval"] == "[27.1, 28.2]"
    assert rows["nothing"] == "null"
    assert rows["[bold]"] == "[red]text[/red]"
    assert rows["deep a b"] == '{"c": {"d": 1}}'
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "x" * 400 not in shown.replace("\n", "")


@pytest.mark.parametrize("metrics", ["[1, 2]", "null", '"good"', "{}", "NaN", '{"a": ' * 900 + "1" + "}" * 900])
def test_figures_of_any_shape_can_be_shown(tmp_path: Path, metrics: str) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "one")
    (checkpoint.folder / "metrics.json").write_text(metrics)
    assert checkpoint.id in models("show", str(checkpoint.folder))


def test_whoever_promotes_a_candidate_by_hand_is_told_what_speaks_against_it(tmp_path: Path, shipped: str) -> None:
    candidate = tiny_checkpoint(tmp_path / "var" / "retrain" / "run" / "checkpoint", 3)
    record = tmp_path / "var" / "retrain" / "run" / "run.json"
    metrics = candidate.folder / "metrics.json"

    def said(parent: str, report: dict[str, object]) -> str:
        metrics.write_text(json.dumps({"run": "run", "parent": parent}))
        record.write_text(json.dumps(report))
        (tmp_path / "var" / "checkpoints" / "promotions.jsonl").unlink(missing_ok=True)
        models("promote", "default")
        return models("promote", str(candidate.folder))

    assert "rollback" not in said(shipped, {"report": {"gate": {"passed": True}}})
    assert "The gate did not let it pass." in said(shipped, {"report": {"gate": {"passed": False}}})
    assert "No gate has judged it yet." in said(shipped, {})
    assert f"It comes from old; what {shipped}, which was live" in said("old", {"report": {"gate": {"passed": True}}})
    assert "It comes from" not in models("promote", candidate.id)


def test_what_cannot_be_done_is_said_in_a_sentence(
    tmp_path: Path, shipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"No other checkpoint was live before {shipped}" in models("rollback", fails=True)
    assert "There is no checkpoint in nowhere" in models("show", "nowhere", fails=True)
    assert "There is no checkpoint in nowhere" in models("promote", "nowhere", fails=True)
    (tmp_path / "blocked").write_text("in the way")
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "blocked"))
    assert "cannot be used" in models("rollback", fails=True)
