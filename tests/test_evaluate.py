"""`chatbot evaluate`, from a checkpoint and a corpus to its figures."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from chatbot.checkpoint import save_checkpoint
from chatbot.cli import main
from chatbot.reply import DEFAULT
from chatbot.retrieval import index_responses
from data.vocabulary import SPECIALS, Vocabulary
from tests.tiny_checkpoint import tiny_checkpoint, tiny_model
from training.evaluate import foretelling_figures
from training.evaluation_report import table_of
from training.judges import EVALUATOR, LANGUAGE_MODEL
from training.scoring import Foretold

FIGURES = {
    *("perplexity", "last_utterance_perplexity", "word_error_rate", "recall_at_1_of_10", "shuffled_perplexity"),
    *("distinct_1", "distinct_2", "unique_share", "dull_share", "repeat_share", "fit_share", "fluency_share"),
    *("mean_length", "human_mean_length"),
}
WORDS = "hello there how are you today I am fine like music and films do what is your name yes no"


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHATBOT_HOME", str(tmp_path / "home"))


def corpus(dialogues: int, turns: int = 4) -> Path:
    """Chat JSONL of random words, with a dull last utterance in every dialogue."""
    draw = random.Random(0)
    records = []
    for _ in range(dialogues):
        texts = [" ".join(draw.choices(WORDS.split(), k=draw.randint(3, 9))) for _ in range(turns - 1)]
        records.append(json.dumps({"messages": [{"content": text} for text in [*texts, "I don't know."]]}))
    Path("talk.jsonl").write_text("\n".join(records), encoding="utf-8")
    return Path("talk.jsonl")


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def report_of(*arguments: str | Path) -> dict[str, Any]:
    result = evaluate(*arguments, "--json", "out/report.json", "--replies", "out/replies.jsonl")
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(Path("out/report.json").read_text("utf-8"))
    return report


def turns() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out/replies.jsonl").read_text("utf-8").splitlines()]


def rows_of(report: dict[str, Any]) -> dict[str, list[Any]]:
    """What the table says beside each label."""
    labels, *columns = (list(column.cells) for column in table_of(report).columns)
    return {label: list(cells) for label, *cells in zip(labels, *columns, strict=True)}


def test_every_figure_comes_with_its_interval_beside_people_and_two_controls():
    tiny_checkpoint(Path("model"))
    report = report_of("model", corpus(12), "--contexts", "30")
    assert report.keys() >= FIGURES | {"controls", "humans", "intervals", "checkpoint", "contexts", "seed", "decoding"}
    for name in FIGURES - {"fit_share", "fluency_share"}:
        low, high = report["intervals"][name]
        assert low - 1e-9 <= report[name] <= high + 1e-9, name
    assert (report["contexts"], report["dialogues"], report["responses"]) == (30, 12, 36)
    frequent, stranger = report["controls"]["most_frequent_reply"], report["controls"]["random_human_reply"]
    assert frequent["reply"] == "I don't know."
    assert frequent["dull_share"] == 1
    assert frequent["unique_share"] == pytest.approx(1 / 30)
    assert report["humans"]["mean_length"] == report["human_mean_length"]
    assert 0 < stranger["dull_share"] < 1
    assert report["fit_share"] is report["fluency_share"] is None
    assert any("chatbot judges" in note for note in report["notes"])
    assert "retrieved" not in rows_of(report)
    assert Path("out/report.png").read_bytes().startswith(b"\x89PNG")


def test_judges_decide_fit_against_a_stranger_and_fluency_by_the_quartiles_of_people():
    tiny_checkpoint(Path("model"))
    tiny_checkpoint(Path("home/judges") / EVALUATOR / "checkpoint", seed=1)
    tiny_checkpoint(Path("home/judges") / LANGUAGE_MODEL / "checkpoint", seed=2, kind="language-model")
    report = report_of("model", corpus(12))
    scores = [turn["scores"] for turn in turns()]
    assert report["fit_share"] == pytest.approx(np.mean([score["model"]["fits"] for score in scores]))
    low, high = np.percentile([score["humans"]["fluency"] for score in scores], (25, 75))
    assert report["fluency_share"] == pytest.approx(
        np.mean([low <= score["model"]["fluency"] <= high for score in scores])
    )
    assert report["humans"]["fluency_share"] >= 0.5
    assert None not in report["judges"].values()
    assert report["notes"] == []


@pytest.mark.parametrize(("judge", "kind"), [(EVALUATOR, "hred"), (LANGUAGE_MODEL, "language-model")])
def test_a_judge_of_another_language_is_refused(judge: str, kind: str) -> None:
    tiny_checkpoint(Path("model"))
    vocabulary = Vocabulary([*SPECIALS, "bonjour", "vous"])
    save_checkpoint(Path("judges") / judge / "checkpoint", tiny_model(len(vocabulary), kind=kind), vocabulary, {})
    result = evaluate("model", corpus(12), "--judges", "judges", "--contexts", "10")
    assert result.exit_code == 2
    assert "in the language that the judge (--judges) learned" in result.stderr


def test_replies_are_written_with_what_was_said_before_and_the_seed_repeats_them():
    tiny_checkpoint(Path("model"))
    first = report_of("model", corpus(12), "--contexts", "10", "--seed", "3"), turns()
    assert (report_of("model", "talk.jsonl", "--contexts", "10", "--seed", "3"), turns()) == first
    report_of("model", "talk.jsonl", "--contexts", "10", "--seed", "4")
    assert turns() != first[1]
    said = [json.loads(line)["messages"] for line in Path("talk.jsonl").read_text("utf-8").splitlines()]
    for turn in first[1]:
        texts = [message["content"] for message in said[turn["dialogue"]]]
        assert [*turn["context"], turn["human"]] == texts[: turn["turn"] + 1]
        assert turn["reply"]
        assert turn["rival"] not in (turn["human"], turn["random_human_reply"])


@pytest.mark.parametrize("kind", ["seq2seq", "language-model"])
def test_flat_networks_are_measured_alike(kind):
    tiny_checkpoint(Path("model"), kind=kind)
    report = report_of("model", corpus(12), "--contexts", "20")
    assert 0 <= report["recall_at_1_of_10"] <= 1
    assert report["recall_by"] == ("relevance" if kind == "seq2seq" else "log p(y|s) - log p(y)")


def test_a_small_corpus_has_no_recall_and_one_dialogue_no_stranger():
    tiny_checkpoint(Path("model"))
    few = report_of("model", corpus(9))
    assert few["recall_at_1_of_10"] is few["intervals"]["recall_at_1_of_10"] is None
    assert any(note.startswith("Recall needs") for note in few["notes"])
    one = report_of("model", corpus(1))
    assert one["shuffled_perplexity"] is one["controls"]["random_human_reply"] is one["intervals"]["perplexity"] is None
    assert one["perplexity"] > 1


def test_the_last_utterance_is_that_of_the_dialogue_and_weighs_by_its_tokens():
    columns = [0, 0, 1], [1, 2, 1], [2, 4, 2], [2.0, 8.0, 6.0], [np.nan] * 3, [1, 1, 2]
    figures = foretelling_figures(Foretold(*map(np.array, columns)), [["a", "b", "c"], ["a", "b"]])
    assert figures["perplexity"].value == pytest.approx(np.exp(16 / 8))
    assert figures["last_utterance_perplexity"].value == pytest.approx(np.exp(14 / 6))
    assert figures["word_error_rate"].value == pytest.approx(4 / 8)
    assert figures["shuffled_perplexity"] is None


def test_what_cannot_be_evaluated_is_one_sentence_and_exit_code_2():
    tiny_checkpoint(Path("model"))
    Path("broken.jsonl").write_text("{", encoding="utf-8")
    Path("prepared").mkdir()
    Path("prepared/vocabulary.json").write_text("[]", encoding="utf-8")
    for arguments in (
        ("nowhere", corpus(2)),
        ("model", "nowhere"),
        ("model", "broken.jsonl"),
        ("model", "prepared"),
        ("model", "talk.jsonl", "--judges", "nowhere"),
        ("model", "talk.jsonl", "--json", "talk.jsonl/report.json"),
    ):
        result = evaluate(*arguments)
        assert result.exit_code == 2, arguments
        assert "Traceback" not in result.output
        assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert "make prepared with `chatbot prepare`" in evaluate("model", "prepared").stderr


def test_a_name_that_the_picture_would_take_is_refused_before_anything_is_measured() -> None:
    tiny_checkpoint(Path("model"))
    result = evaluate("model", corpus(3), "--json", "figures.PNG", "--replies", "replies.jsonl")
    assert result.exit_code == 2
    assert result.stderr.strip().splitlines()[-1] == (
        "Error: figures.PNG is the name of a picture; end the name after --json in .json."
    )
    assert not Path("figures.PNG").exists()
    assert not Path("replies.jsonl").exists()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            ("--json", "out/a.json", "--replies", "out/a.json"),
            "out/a.json is written by --json; give --replies another",
        ),
        (("--json", "out/a.json", "--replies", "out/a.png"), "out/a.png is written by --json; give --replies another"),
        (("--json", "folder.json"), "folder.png cannot be used"),
    ],
)
def test_figures_that_could_not_be_kept_are_not_measured(files: tuple[str, ...], told: str) -> None:
    tiny_checkpoint(Path("model"))
    Path("folder.png").mkdir()
    result = evaluate("model", corpus(3), *files)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Foretelling" not in result.stderr
    assert not Path("folder.json").exists()


def test_replies_are_measured_with_and_without_those_of_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    lenient = replace(DEFAULT, retrieved_margin=0.0, retrieved_relevance=-99.0)  # of a network that has learned nothing
    monkeypatch.setattr("chatbot.reply.DEFAULT", lenient)
    model = tiny_checkpoint(Path("model"), seed=2)  # one that likes what others say
    prepared = CliRunner().invoke(main, ["prepare", str(corpus(60)), "--out", "prepared"])
    assert prepared.exit_code == 0, prepared.output
    assert "has no index of responses" in evaluate("model", "talk.jsonl", "--retrieved", "4").output
    index_responses(model, Path("prepared"), ["talk"])
    shares = [report_of("model", "talk.jsonl", "--contexts", "20", *more)["retrieved_share"]
              for more in ((), ("--retrieved", "0"), ("--retrieved", "40"))]  # fmt: skip
    assert shares[1] == 0
    assert 0 < shares[2] <= 1
    assert f"{shares[2]:.1%}" in rows_of(json.loads(Path("out/report.json").read_text("utf-8")))["retrieved"]
    assert np.mean([turn["scores"]["model"]["retrieved"] for turn in turns()]) == pytest.approx(shares[2])
