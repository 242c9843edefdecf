"""The table of results: its windows, its scores by plain loops, its rows on a tiny corpus, and the page."""

import io
import json
import math
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from chatbot.cli import main
from chatbot.model import HRED, ModelConfig
from data.preparation import PrepareError
from data.store import StoreWriter, TokenStore
from data.vocabulary import BOS, EOS, UNK, Vocabulary
from training import memory, results
from training.memory import FACT, FARTHEST, dialogue, measure_memory
from training.results import BUDGET, ROWS, Setting, chosen_jobs, figures, recipe_of, score
from training.results_page import compare, page_of, write_page
from training.windows import prepare_windows

ROOT = Path(__file__).parents[1]
QUIET = Console(quiet=True)
WORDS = [
    "you",
    "we",
    "they",
    "see",
    "know",
    "like",
    "want",
    "have",
    "take",
    "find",
    "here",
    "now",
    "tea",
    "cake",
    "rain",
]
TINY = {"embedding_size": 8, "encoder_size": 8, "state_size": 8, "decoder_size": 8}


def says(words: random.Random) -> str:
    return " ".join(words.choices(WORDS, k=words.randint(3, 6))) + "."


def chat(dialogues: list[list[str]], prefix: str = "d") -> str:
    records = (
        {"id": f"{prefix}/{n}", "messages": [{"content": text} for text in one]} for n, one in enumerate(dialogues)
    )
    return "".join(f"{json.dumps(record)}\n" for record in records)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DailyDialog's three files, and one film whose lines answer each other."""
    folder, words = tmp_path_factory.mktemp("corpora"), random.Random(0)
    for split, count in (("train", 40), ("validation", 12), ("test", 12)):
        dialogues = [[says(words) for _ in range(7)] for _ in range(count)]
        (folder / f"dailydialog.{split}.jsonl").write_text(chat(dialogues))
    cues = (
        f"{n}\n00:{n // 60:02}:{n % 60:02},000 --> 00:{n // 60:02}:{n % 60:02},900\n{says(words)}\n"
        for n in range(1, 600)
    )
    text = "\n".join(cues)
    (folder / "subtitles").mkdir()
    for film in range(4):
        (folder / "subtitles" / f"film{film}.srt").write_text(text.replace("tea", WORDS[film]))
    return folder


def texts(folder: Path, split: str) -> list[list[str]]:
    vocabulary, store = Vocabulary.load(folder / "vocabulary.json"), TokenStore.open(folder / "dialogues" / split)
    return [[vocabulary.decode(utterance) for utterance in store[place]] for place in range(len(store))]


def test_windows_are_three_utterances_that_no_other_window_holds(tmp_path: Path):
    lines = ["One day in May.", "Two in June.", "And three in July.", "Four.", "Five.", "Six.", "Left over."]
    for split in ("train", "validation", "test"):
        (tmp_path / f"dailydialog.{split}.jsonl").write_text(chat([lines, lines[:2], lines[:4]]))
    prepare_windows("dailydialog", tmp_path, tmp_path / "out")
    assert texts(tmp_path / "out", "train") == [lines[:3], lines[3:6], lines[:3]]
    assert np.load(tmp_path / "out" / "origin.npy").tolist() == [0, 0, 2]


def test_a_window_is_fresh_unless_training_has_a_long_utterance_of_it(tmp_path: Path):
    long, short = "we went to the sea in a small red boat", "it is me"
    other = "they went to the sea in a small red boat"
    files = {"train": [[long, short, "yes"]], "test": [[short, "Why?", "no"], ["So.", f"{long.upper()}!", "no"]]}
    files["validation"] = [[long, "so", "no"], [short, other, "no"]]
    for split, dialogues in files.items():
        (tmp_path / f"dailydialog.{split}.jsonl").write_text(chat(dialogues))
    prepare_windows("dailydialog", tmp_path, tmp_path / "out")
    assert np.load(tmp_path / "out" / "fresh.npy").tolist() == [True, False]
    assert len(texts(tmp_path / "out", "test")) == 2
    assert len(texts(tmp_path / "out", "validation")) == 1  # only fresh ones to choose by


def test_dailydialog_is_read_as_it_is_fetched(tmp_path: Path):
    outer = zipfile.ZipFile(tmp_path / "ijcnlp_dailydialog.zip", "w")
    for split in ("train", "validation", "test"):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as archive:
            archive.writestr(f"{split}/dialogues_{split}.txt", f"Hi. __eou__ In {split}? __eou__ Yes. __eou__\n" * 2)
            archive.writestr(f"{split}/dialogues_act_{split}.txt", "3 4 2\n" * 2)
        outer.writestr(f"ijcnlp_dailydialog/{split}.zip", inner.getvalue())
    outer.writestr("ijcnlp_dailydialog/dialogues_text.txt", "All of it. __eou__ Again. __eou__ Yes. __eou__\n")
    outer.close()
    prepare_windows("dailydialog", tmp_path, tmp_path / "out")
    assert texts(tmp_path / "out", "train") == [["Hi.", "In train?", "Yes."]] * 2


def test_scenes_are_divided_by_episode(tmp_path: Path):
    words = random.Random(1)
    scenes = [
        {"id": f"startrek/tng/s01e{episode:02}/{scene}", "messages": [{"content": says(words)} for _ in range(3)]}
        for episode in range(60)
        for scene in range(3)
    ]
    (tmp_path / "startrek.jsonl").write_text("".join(f"{json.dumps(scene)}\n" for scene in scenes))
    prepare_windows("startrek", tmp_path, tmp_path / "out")
    found = {split: len(texts(tmp_path / "out", split)) for split in ("train", "validation", "test")}
    assert sum(found.values()) == 180
    assert all(count and count % 3 == 0 for count in found.values())  # whole episodes


def test_a_corpus_that_is_not_there_is_one_sentence_that_says_where_to_get_it(tmp_path: Path):
    with pytest.raises(PrepareError, match=r"Star Trek dialogues for train in .*: put startrek\.jsonl there"):
        prepare_windows("startrek", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    told = CliRunner().invoke(
        main,
        ["results", "--corpora", str(tmp_path), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "results")],
    )
    assert told.exit_code == 2
    assert told.stderr.splitlines()[-1].startswith("Error: There are no DailyDialog dialogues for train")
    assert "`chatbot fetch dailydialog`" in told.stderr


def test_figures_that_could_not_be_kept_are_not_measured(tmp_path: Path):
    (tmp_path / "file").write_text("")
    told = CliRunner().invoke(main, ["results", "--only", "memory-gru", "--out", str(tmp_path / "file" / "results")])
    assert told.exit_code == 2
    assert "memory-gru: 1 of 1" not in told.stderr
    assert "cannot be used" in told.stderr.splitlines()[-1]


@pytest.mark.parametrize("kind", ["hred", "seq2seq", "language-model"])
@torch.no_grad()
def test_scores_are_those_of_the_words_one_by_one(kind: str, tmp_path: Path):
    random = np.random.default_rng(0)
    windows = [[random.integers(4, 20, random.integers(1, 6)) for _ in range(3)] for _ in range(5)]
    with StoreWriter(tmp_path / "store") as writer:
        for window in windows:
            writer.extend(np.concatenate(window), np.array([len(utterance) for utterance in window]), np.array([3]))
    model = HRED(ModelConfig(20, 8, 8, 8, 8, kind=kind, bidirectional=False))
    found = score(model, TokenStore.open(tmp_path / "store"))
    for place, window in enumerate(windows):
        state = model.initial_state(1)
        for turn, utterance in enumerate(window):
            closed = [*utterance.tolist(), EOS]
            nats, wrong, memory = 0.0, 0, model.start_decoding(state)
            for before, word in zip([BOS, *closed], closed, strict=False):
                logits, memory = model.decode_step(torch.tensor([before]), memory, state)
                nats -= float(logits[0].log_softmax(0)[word])
                wrong += int(logits.argmax()) != word
            assert found.tokens[place, turn] == len(closed)
            assert found.nats[place, turn] == pytest.approx(nats, rel=1e-4)
            assert found.errors is not None
            assert found.errors[place, turn] == wrong
            state = model.listen(torch.tensor([closed]), torch.tensor([len(closed)]), state)


def test_figures_are_those_of_the_paper():
    tokens, nats = np.full((4, 3), 2), np.array([[1.0, 2, 3]] * 4)
    found = figures(results.Scores(tokens, nats, np.array([[1, 0, 2]] * 4)), np.array([0, 0, 1, 2]))
    assert found["perplexity"] == pytest.approx(math.exp(12 / 12), abs=1e-4)
    assert found["last_utterance_perplexity"] == pytest.approx(math.exp(3 / 2), abs=1e-4)
    assert found["word_error_rate"] == 0.5
    assert (found["windows"], found["dialogues"]) == (4, 3)


def test_every_network_has_the_same_sizes_and_budget(tmp_path: Path):
    recipes = {name: recipe_of(row, tmp_path, tmp_path, BUDGET, 0) for name, row in ROWS.items() if not row.smoothing}
    for name, recipe in recipes.items():
        stages = [stage for stage in (recipe.pretrain, recipe.train) if stage]
        assert sum(stage.target_tokens for stage in stages) == BUDGET == 3_000_000, name
        assert all(stage.openings and stage.validate_every * 100 > stage.target_tokens for stage in stages), name
        assert (recipe.model.encoder_size, recipe.model.state_size, recipe.model.decoder_size) == (300, 400, 400)
        assert recipe.model.bidirectional == (name == "hred-bi-subtitles")
    assert {name for name, recipe in recipes.items() if recipe.word2vec} == {"hred-word2vec"}
    assert recipes["reinjection"].train.reinjection > 0 == recipes["hred"].train.reinjection


def test_what_is_wanted_first_comes_first_and_can_be_named():
    names = chosen_jobs([])
    assert names[0] == "dailydialog-0-hred"
    assert {name.rpartition("-")[0] for name in names[: names.index("memory-elman")]} >= {"dailydialog-0"}
    assert names.index("memory-lstm") < names.index("startrek-0-hred") < names.index("dailydialog-1-hred")
    assert chosen_jobs(["*-1-rnn", "memory-*"]) == [
        *(f"memory-{name}" for name in results.NETWORKS),
        "dailydialog-1-rnn",
    ]
    assert not any("kneser" in name for name in chosen_jobs(["dailydialog-1-*"]))  # no seed, no second time
    with pytest.raises(ValueError, match="No row is called nobody; the names are dailydialog-0-hred, "):
        chosen_jobs(["nobody"])


@pytest.fixture(scope="module")
def table(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of row, learned in a few steps."""
    folder = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "SIZES", TINY)
        patch.setattr(memory, "_ASKED", 20)
        wanted = [f"dailydialog-0-{row}" for row in ROWS] + ["dailydialog-1-hred", "memory-gru"]
        rows: list[str] = []
        setting = Setting(corpora, folder / "run", target_tokens=600, memory_steps=2)
        results.results(wanted, setting, folder / "results", lambda: rows.append("done"), QUIET)
    assert len(rows) == len(wanted)
    return folder


def row_of(table: Path, name: str) -> results.Measured:
    return json.loads((table / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("row", ROWS)
def test_a_row_leaves_its_figures_and_nothing_else(row: str, table: Path):
    found = row_of(table, f"dailydialog-0-{row}")
    assert found["command"] == f"chatbot results --only dailydialog-0-{row}"
    for test in ("test", "fresh_test"):
        low, high = found[test]["intervals"]["perplexity"]
        assert 1 < low <= found[test]["perplexity"] <= high
    assert (found["test"]["word_error_rate"] is None) == (ROWS[row].smoothing is not None)
    sums = [sum(found["fresh_dialogues"][name]) for name in ("nats", "tokens")]
    assert math.exp(sums[0] / sums[1]) == pytest.approx(found["fresh_test"]["perplexity"], rel=1e-3)
    if not ROWS[row].smoothing:
        assert found["target_tokens"] >= 600
        assert found["recipe"]["model"]["kind"] == ROWS[row].kind
        assert found["checkpoint_bytes"] > 2 * found["parameters"] > 0
    assert not (table / "run" / f"dailydialog-0-{row}").exists()


def test_only_rows_with_subtitles_learn_from_them(table: Path):
    sizes = {
        name: len(TokenStore.open(table / "run" / name / "pairs" / "train"))
        for name in ("dailydialog", "dailydialog-with-subtitles")
    }
    assert sizes["dailydialog"] == 0 < sizes["dailydialog-with-subtitles"]
    vocabularies = [(table / "run" / name / "vocabulary.json").read_text() for name in sizes]
    assert vocabularies[0] == vocabularies[1]
    prepared = {
        row: Path(row_of(table, f"dailydialog-0-{row}")["recipe"]["corpus"]["prepared"]).name
        for row in ("hred", "rnn-subtitles")
    }
    assert prepared == {"hred": "dailydialog", "rnn-subtitles": "dailydialog-with-subtitles"}


def test_a_finished_row_is_passed_over_and_one_in_progress_goes_on(
    corpora: Path, table: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(results, "SIZES", TINY)
    setting = Setting(corpora, table / "run", target_tokens=600)
    calls: list[str] = []
    results.results(["dailydialog-0-hred"], setting, table / "results", lambda: calls.append("again"), QUIET)
    assert not calls

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "score", interrupt)
        with pytest.raises(KeyboardInterrupt):
            results.results(["dailydialog-0-hred"], setting, tmp_path, lambda: None, QUIET)
    assert not list(tmp_path.iterdir())
    learned = table / "run" / "dailydialog-0-hred" / "train" / "latest.safetensors"
    before = learned.stat().st_mtime_ns
    monkeypatch.setattr(results.shutil, "rmtree", lambda *_, **__: None)
    results.results(["dailydialog-0-hred"], setting, tmp_path, lambda: None, QUIET)
    assert learned.stat().st_mtime_ns == before
    again, first = json.loads((tmp_path / "dailydialog-0-hred.json").read_text()), row_of(table, "dailydialog-0-hred")
    assert again["test"]["perplexity"] == pytest.approx(first["test"]["perplexity"], rel=0.01)


def measured(seed: int, nats: list[float]) -> results.Measured:
    return {"seed": seed, "fresh_dialogues": {"tokens": [10] * len(nats), "nats": nats}}


def test_two_rows_are_compared_dialogue_by_dialogue():
    hard = [10.0, 20, 30, 40, 50, 60]
    a_little_less = [nats - 0.5 for nats in hard]
    found = compare([measured(0, a_little_less)], [measured(0, hard)])
    assert found.holds is True
    assert found.ratio.value == pytest.approx(math.exp(-0.05))
    assert compare([measured(0, hard)], [measured(0, a_little_less)]).holds is False
    assert compare([measured(0, [9.0, 22, 28, 43, 49, 60])], [measured(0, hard)]).holds is None


def test_rows_no_further_apart_than_two_seeds_decide_nothing():
    lower, upper = [measured(0, [39.0] * 6)], [measured(0, [40.0] * 6)]
    assert compare(lower, upper, apart=math.exp(0.09)).holds is True  # they are exp(0.1) apart
    assert compare(lower, upper, apart=math.exp(0.11)).holds is None
    assert compare(upper, lower, apart=math.exp(0.11)).holds is None


def test_rows_of_unequal_budgets_make_no_page(table: Path, tmp_path: Path):
    shutil.copytree(table / "results", tmp_path / "results")
    cheap = tmp_path / "results" / "dailydialog-0-hred.json"
    cheap.write_text(json.dumps(json.loads(cheap.read_text()) | {"target_tokens": 100}))
    with pytest.raises(ValueError, match="The rows learned from 100 to"):
        page_of(tmp_path / "results")


def test_seeds_that_disagree_decide_nothing():
    hard, less, more = [40.0] * 6, [20.0] * 6, [41.0] * 6
    assert compare([measured(0, less), measured(1, less)], [measured(0, hard), measured(1, hard)]).holds is True
    assert compare([measured(0, less), measured(1, more)], [measured(0, hard), measured(1, hard)]).holds is None


def test_the_page_shows_every_row_beside_the_papers_figures(table: Path):
    page = write_page(table / "results").read_text()
    perplexities = [row_of(table, f"dailydialog-{seed}-hred")["fresh_test"]["perplexity"] for seed in (0, 1)]
    assert f"| HRED (GRU, teacher forcing) | 36.59 | {np.mean(perplexities):.2f} (" in page
    assert "Seeds 0, 1. Two seeds of one row are at most" in page.replace("\n", " ")
    assert "33.95 < 36.59" in page
    assert "not decided: not measured" in page  # Star Trek
    assert "Of the paper's 11 orderings on DailyDialog, " in page
    assert "| GRU | 0." in page
    for picture in ("dailydialog.png", "memory.png"):
        assert f"(results/{picture})" in page
        assert (table / "results" / picture).read_bytes().startswith(b"\x89PNG")
    (table / "results" / "why.md").write_text("Because of the weather.\n")
    assert "## Why\n\nBecause of the weather.\n" in page_of(table / "results")


def test_the_committed_page_is_that_of_the_committed_figures():
    assert (ROOT / "docs" / "results.md").read_text("utf-8") == page_of(ROOT / "docs" / "results")


def test_a_fact_is_stated_k_utterances_before_its_answer():
    for k in range(1, FARTHEST + 1):
        *utterances, answer = dialogue(k, np.random.default_rng(k))
        assert len(utterances) == k
        assert utterances[0][:FACT].tolist() == answer.tolist()
        others = {int(word) for utterance in utterances for word in utterance} - set(answer.tolist())
        assert min(others) > UNK
        assert not set(answer.tolist()) & {int(word) for utterance in utterances[1:] for word in utterance}
        asks = utterances[-1][-1]
        assert sum(int((utterance == asks).sum()) for utterance in utterances) == 1


def test_recall_is_measured_for_each_distance_and_seed(monkeypatch):
    monkeypatch.setattr(memory, "_ASKED", 20)
    found = measure_memory("seq2seq", 2, QUIET)
    assert np.shape(found["recall"]) == (3, FARTHEST)
    assert 0 <= np.min(found["recall"]) <= np.max(found["recall"]) < 0.5  # nothing is learned in two steps
