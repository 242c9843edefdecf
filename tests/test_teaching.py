"""How a chooser learns, and the judgements that it learns from."""

import json
import lzma
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from chatbot.choosing.sense import SenseJudge
from chatbot.cli import main
from data.store import StoreWriter, TokenStore
from data.vocabulary import Vocabulary
from tests.tiny_checkpoint import tiny_checkpoint
from tests.tiny_chooser import tiny_chooser, words_of
from training.choosing.examples import Examples
from training.choosing.judgements import Judged, measure, read_judgements
from training.choosing.learning import Learning
from training.choosing.recipe import ChooserRecipe, read_chooser_recipe
from training.choosing.teach import teach_chooser
from training.config import ConfigError, CorpusConfig


@pytest.fixture
def words() -> Vocabulary:
    return words_of("hello there cat dog")


# Judgements


def written_judgements(folder: Path, *records: dict[str, Any]) -> Path:
    file = folder / "judgements.jsonl.xz"
    with lzma.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)
    return file


def record(id: str, context: Sequence[str], **marks: tuple[int, int]) -> dict[str, Any]:
    candidates = [{"text": text, "sensible": s, "specific": p} for text, (s, p) in marks.items()]
    return {"id": id, "context": list(context), "candidates": candidates}


def test_judgements_are_read_as_ids(words: Vocabulary, tmp_path: Path) -> None:
    file = written_judgements(
        tmp_path,
        record("a", ["hello there"], hello=(1, 0), dog=(0, 0)),
        record("b", ["cat"], cat=(1, 1)),
        {"id": "c", "context_sha256": "0" * 64, "candidates": [{"text": "dog"}, {"text": "cat"}]},
    )
    found = read_judgements([file], words)
    assert len(found) == 1  # of a single candidate nothing can be learned
    assert found[0].context == (tuple(words.encode("hello there")),)
    assert (found[0].sensible, found[0].specific) == ((True, False), (False, False))


def test_a_line_without_judgements_is_named(words: Vocabulary, tmp_path: Path) -> None:
    file = written_judgements(tmp_path, record("a", ["hello"], hello=(1, 0), dog=(0, 0)), {"id": "b"})
    with pytest.raises(ValueError, match=r"Line 2 of .*judgements\.jsonl\.xz holds no judgements"):
        read_judgements([file], words)
    with pytest.raises(ValueError, match="cannot be read"):
        read_judgements([tmp_path / "nowhere.jsonl"], words)


def test_what_a_chooser_takes_is_counted() -> None:
    first = Judged(((5,),), ((6,), (7,)), (True, False), (True, False), True)
    second = Judged(((5,),), ((6,), (7,), (8,)), (False, True, True), (False, True, False), True)
    none = Judged(((5,),), ((6,), (7,)), (False, False), (False, False), True)
    found = measure([first, second, none], [[0.9, 0.1], [0.6, 0.5, 0.7], [0.1, 0.2]])
    assert found == (3, pytest.approx(2 / 3), pytest.approx(1 / 3), pytest.approx(2 / 3), pytest.approx((1 + 0.5) / 2))


# Learning

JUDGED = [Judged(((5 + n, 9),), ((20 + n,), (39 - n,)), (True, False), (True, False), False) for n in range(8)]


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    with StoreWriter(tmp_path / "store") as writer:
        for n in range(12):
            tokens = np.array([5 + n, 9, 20 + n, 9, 5 + n, 20 + n, 9])
            writer.extend(tokens, np.array([2, 1, 2, 2]), np.array([4]))
    return TokenStore.open(tmp_path / "store")


def recipe(folder: Path, **changes: Any) -> ChooserRecipe:
    steps = {"likeness_steps": 10, "comparison_steps": 10, "passes": 20, "size": 8} | changes
    return ChooserRecipe(folder, CorpusConfig(folder / "prepared"), **steps)


def test_examples_are_a_dialogues_own(store: TokenStore) -> None:
    dialogues = [[ids.tolist() for ids in store[place]] for place in range(len(store))]
    for one in Examples(store).draw(np.random.default_rng(0), 50):
        said = [*one.context, one.response]
        own = next(dialogue for dialogue in dialogues if said[-1] in dialogue and said[0] in dialogue)
        assert len(said) > 1
        assert str(said)[1:-1] in str(own)
        assert one.response not in one.near
        assert all(ids in own for ids in one.near)


def test_a_chooser_learns_what_readers_call_sensible(store: TokenStore, tmp_path: Path) -> None:
    chooser = tiny_chooser()
    quick = recipe(tmp_path, passes=100, judgement_rate=0.01)
    Learning(chooser, Examples(store), JUDGED, quick, tmp_path / "run").run(Console(quiet=True))
    senses = SenseJudge(chooser, ()).judge([one.context for one in JUDGED], [one.candidates for one in JUDGED])
    assert all(right.sensible > wrong.sensible for right, wrong in senses)


@pytest.mark.parametrize("at", [5, 15, 40])
def test_learning_that_was_stopped_goes_on_as_if_it_had_not_been(at: int, store: TokenStore, tmp_path: Path) -> None:
    through = tiny_chooser()
    Learning(through, Examples(store), JUDGED, recipe(tmp_path), tmp_path / "through").run(Console(quiet=True))
    stopped = Learning(tiny_chooser(), Examples(store), JUDGED, recipe(tmp_path), tmp_path / "stopped")
    stopped.chooser.train()
    steps = stopped._steps(lambda: None)
    for _ in range(at):
        next(steps)
    stopped._save()
    again = tiny_chooser(seed=5)
    Learning(again, Examples(store), JUDGED, recipe(tmp_path), tmp_path / "stopped").run(Console(quiet=True))
    for name, value in through.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_a_chooser_that_continues_learns_from_judgements_alone(store: TokenStore, tmp_path: Path) -> None:
    learning = Learning(tiny_chooser(), Examples(store), JUDGED, recipe(tmp_path, continues=True), tmp_path / "run")
    learning.run(Console(quiet=True))
    assert learning.position.step == 40  # 20 passes over 8 contexts, of which 6 are learned at once


def test_a_checkpoint_without_a_chooser_has_none_to_continue(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    prepared = tmp_path / "prepared"
    with StoreWriter(prepared / "dialogues" / "train") as writer:
        writer.extend(np.array([5, 6, 7, 8]), np.array([2, 2]), np.array([2]))
    checkpoint.vocabulary.save(prepared / "vocabulary.json")
    continuing = replace(recipe(tmp_path, continues=True), start=str(checkpoint.folder))
    with pytest.raises(ValueError, match="has no chooser to go on from"):
        teach_chooser(continuing, Console(quiet=True))


def test_a_recipe_of_a_chooser_with_a_wrong_key_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "chooser.toml"
    file.write_text('run = "r"\nfoo = 3\n[corpus]\nprepared = "p"\n')
    with pytest.raises(ConfigError, match="there is no key 'foo'"):
        read_chooser_recipe(file)
    result = CliRunner().invoke(main, ["chooser", str(file)])
    assert result.exit_code == 2
    assert "there is no key 'foo'" in result.output


def test_a_corpus_prepared_with_other_words_is_refused_in_a_sentence(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    words_of("other words").save(prepared / "vocabulary.json")
    with pytest.raises(ValueError, match="was prepared with other words"):
        teach_chooser(replace(recipe(tmp_path), start=str(checkpoint.folder)), Console(quiet=True))
