"""Pairs in any language: what `docs/pairs.md` shows, done as it says; how such text is prepared; what is refused."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from itertools import chain
from pathlib import Path
from statistics import fmean

import pytest
from click.testing import CliRunner

from chatbot.cli import main
from data.cleaning import MAX_DOCUMENT_TOKENS, MAX_TOKENS, normalise, plain
from data.store import TokenStore
from data.vocabulary import UNK, Vocabulary

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "pairs.md"


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with what the examples of the docs need."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def section(heading: str) -> list[str]:
    """The lines of code under a heading of `docs/pairs.md`: commands, and what they print."""
    (text,) = (part for part in DOCS.read_text("utf-8").split("\n## ") if part.startswith(heading + "\n"))
    return [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]


def follow(heading: str) -> None:
    """Does what the docs show."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in (line.removeprefix("$ ") for line in section(heading) if line.startswith("$ ")):
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def examples(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (ROOT / "docs" / "examples" / name).read_text("utf-8").splitlines()]


def share_right(written: str, held_out: str) -> float:
    """How many lines are word for word those of the second column of a file of pairs, 0 to 1."""
    pairs = zip(Path(written).read_text("utf-8").splitlines(), examples(held_out), strict=True)
    return fmean(line == pair[1] for line, pair in pairs)


@pytest.mark.timeout(1200)  # it takes half a minute of one core; another may be busy
def test_sentences_that_were_not_taught_are_translated_as_the_docs_show(shown: Path) -> None:
    follow("English into French")
    assert share_right("french.txt", "translation-held-out.tsv") >= 0.8


@pytest.mark.timeout(1200)
def test_reports_that_were_not_taught_get_their_headlines_as_the_docs_show(shown: Path) -> None:
    follow("News into headlines")
    assert share_right("headlines.txt", "summarisation-held-out.tsv") >= 0.8


@pytest.mark.parametrize(
    ("heading", "example"), [("English into French", "translation"), ("News into headlines", "summarisation")]
)
def test_what_is_held_out_is_not_taught_and_what_the_docs_show_is_of_either(heading: str, example: str) -> None:
    taught, held_out = examples(f"{example}.tsv"), examples(f"{example}-held-out.tsv")
    for column in (0, 1):
        assert not {pair[column] for pair in taught} & {pair[column] for pair in held_out}
    texts = {*chain.from_iterable(held_out), *map("\t".join, taught)}
    assert {line for line in section(heading) if not line.startswith("$ ")} <= texts


def prepare(pairs: list[tuple[str, str]], *options: str) -> dict[str, dict[str, int]]:
    """Prepares pairs in the working folder; returns what was kept and dropped."""
    Path("pairs.tsv").write_text("".join(f"{first}\t{second}\n" for first, second in pairs), "utf-8")
    result = CliRunner().invoke(main, ["prepare", "pairs.tsv", "--out", "prepared", *options])
    assert result.exit_code == 0, result.output
    report = json.loads(Path("prepared", "report.json").read_text())
    return {"kept": report["kept"]["pairs"], "dropped": report["dropped"].get("pairs", {})}


def prepared_texts() -> set[str]:
    vocabulary = Vocabulary.load(Path("prepared", "vocabulary.json"))
    stores = [TokenStore.open(Path("prepared", "pairs", split)) for split in ("train", "validation", "test")]
    return {vocabulary.decode(ids.tolist()) for store in stores for place in range(len(store)) for ids in store[place]}


@pytest.mark.parametrize(
    "texts",
    [
        ("Où est l'hôtel dont vous m'avez parlé ?", "Im Garten steht ein Bäumchen, groß und grün."),
        ("¿Dónde está el niño?", "O pássaro não voa à noite."),
        ("Ο γάτος κοιμάται.", "Кошка спит на диване."),
        ("Şimdi İzmir'e gidiyoruz.", "Zażółć gęślą jaźń."),
    ],
)
def test_text_of_any_language_is_kept_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: tuple) -> None:
    monkeypatch.chdir(tmp_path)
    prepare([texts], "--no-clean")
    assert prepared_texts() == set(texts)


def test_capitals_inside_a_sentence_are_given_back_in_any_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(
        [("Das Haus ist alt.", "Émile aime Élodie."), ("Ich sehe das Haus.", "Il voit Émile, l'été.")], "--no-clean"
    )
    vocabulary = Vocabulary.load(Path("prepared", "vocabulary.json"))
    assert vocabulary.decode(vocabulary.encode("DAS HAUS IST ALT.")) == "Das Haus ist alt."
    assert vocabulary.decode(vocabulary.encode("l'été émile aime élodie")) == "L'été Émile aime Élodie"


def test_a_letter_and_its_accent_are_one_however_they_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "Le garçon a été ici."
    prepare([(unicodedata.normalize("NFD", text), "The boy was here.")], "--no-clean")
    vocabulary = Vocabulary.load(Path("prepared", "vocabulary.json"))
    typed = [vocabulary.encode(normalise(unicodedata.normalize(form, text))) for form in ("NFC", "NFD")]
    assert typed[0] == typed[1]
    assert UNK not in typed[0]


def test_documents_and_pairs_of_equals_are_kept_unless_nothing_can_be_learned_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = [
        (" ".join(["mot"] * MAX_DOCUMENT_TOKENS), "Un long texte"),
        ("Taxi", "Taxi"),
        ("Write to me@example.org now.", "Écrivez à me@example.org."),
        (" ".join(["mot"] * (MAX_DOCUMENT_TOKENS + 1)), "Trop long"),
        ("caf\ufffd", "Café"),
        ("...", "Rien"),
    ]
    found = prepare(pairs, "--no-clean")
    assert found["kept"]["dialogues"] == 3
    assert found["dropped"] == {"left alone": 3, "too long": 1, "garbled": 1, "no words": 1, "duplicate": 0}


def test_unless_it_is_asked_for_text_is_english_talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    foreign = "je ne sais pas ce que vous voulez dire mon ami"
    found = prepare([(foreign, "Hm?"), ("word " * (MAX_TOKENS + 1), "Hm!"), ("im here", "Good."), ("Taxi", "Taxi")])
    assert found["dropped"]["not English"] == found["dropped"]["too long"] == 1
    assert found["dropped"]["echo"] == 2
    assert prepared_texts() == {"I'm here", "Good."}


def test_a_word_that_a_vocabulary_knows_is_no_slip() -> None:
    german = Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", "im", "Haus"])
    assert normalise("Im Haus", german) == plain("Im Haus") == "Im Haus"
    assert normalise("im not sure, dont ask", german) == "im not sure, don't ask"
    assert normalise("Im home") == "I'm home"


TALK = "Hello.\nHi.\nHow are you?\n\nBye.\nSee you.\nTomorrow?\n\nOne.\nTwo.\nThree.\n"
PAIRS = "Hello.\tHi.\nHow are you?\tFine.\nBye.\tSee you.\nYes?\tNo.\n"
RECIPE = """
run = "run"
precision = "float32"
[corpus]
prepared = "prepared"
sources = ["corpus.txt"]
[model]
kind = "{kind}"
embedding_size = 8
encoder_size = 8
decoder_size = 8
[train]
target_tokens = 1
"""


def refusal(recipe: str, corpus: str) -> str:
    """The sentence with which `chatbot train` refuses, exit code 2."""
    Path("recipe.toml").write_text(recipe)
    Path("corpus.txt").write_text(corpus)
    result = CliRunner().invoke(main, ["train", "recipe.toml"])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "more", "corpus", "said"),
    [
        ("hred", "", PAIRS, "prepared holds too few dialogues of three utterances or more"),
        ("seq2seq", "", PAIRS, "prepared holds too few dialogues of three utterances or more"),
        ("seq2seq", 'corpus = "pairs"\n', TALK, "prepared holds too few pairs"),
        ("hred", '[adversarial]\nrounds = 1\ncorpus = "pairs"\n', TALK, "prepared holds too few pairs"),
    ],
)
def test_a_recipe_that_does_not_suit_its_corpus_is_one_sentence_before_anything_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, more: str, corpus: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refusal(RECIPE.format(kind=kind) + more, corpus)
    assert not Path("run").exists()
