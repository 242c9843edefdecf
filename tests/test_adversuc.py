import json

import numpy as np
import pytest
from click.testing import CliRunner

from chatbot.cli import main
from data.store import StoreWriter
from data.vocabulary import UNK
from tests.tiny_checkpoint import tiny_checkpoint
from training.adversuc import SITUATIONS, Cases, Responses, adversuc, train_evaluator, verdicts
from training.discriminator import HUMAN, MACHINE

_WORDS = 14


def people(generator: np.random.Generator, count: int) -> Responses:
    """Contexts of a word; people answer with the next word, the machine and chance with any other."""
    words = generator.integers(4, _WORDS - 1, size=count)
    strange = generator.integers(4, _WORDS - 1, size=(2, count))
    human = [np.array([word + 1]) for word in words]
    machine, random = ([np.array([word + 1]) for word in row] for row in strange)
    return Responses([[np.array([word])] for word in words], human, machine, random, list(range(count)))


def adversuc_of(situation: str) -> float:
    generator = np.random.default_rng(0)
    train, validation, test = (SITUATIONS[situation].cases(people(generator, count)) for count in (1_000, 300, 600))
    evaluator = train_evaluator(train, validation, _WORDS, seed=1)
    return float((verdicts(evaluator, test) != test.labels).mean())


@pytest.mark.parametrize("situation", ["human or machine", "human or random dialogue"])
def test_the_evaluator_tells_people_from_what_is_not_human(situation):
    assert adversuc_of(situation) < 0.25


@pytest.mark.parametrize("situation", ["human or human", "machine or random response"])
def test_the_evaluator_fails_half_of_the_time_where_there_is_nothing_to_tell(situation):
    assert adversuc_of(situation) == pytest.approx(0.5, abs=0.08)


def test_verdicts_stand_in_the_order_of_the_cases_however_long_they_are():
    def cases(generator: np.random.Generator, count: int) -> Cases:
        labels = generator.integers(0, 2, size=count)
        lengths = generator.integers(1, 4, size=count)
        said = {HUMAN: np.array([5]), MACHINE: np.array([6])}
        return Cases([[np.array([4])] * length + [said[label]] for length, label in zip(lengths, labels, strict=True)],
                     labels)  # fmt: skip

    generator = np.random.default_rng(0)
    evaluator = train_evaluator(cases(generator, 1_500), cases(generator, 100), _WORDS, seed=0)
    test = cases(generator, 300)
    assert (verdicts(evaluator, test) == test.labels).all()


@pytest.fixture
def prepared(tmp_path):
    """A corpus of pairs in the words of a tiny checkpoint, a tenth of whose responses hold a word nobody can say."""
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    generator = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        tokens = generator.integers(4, len(checkpoint.vocabulary), size=400)
        tokens[1::20] = UNK
        with StoreWriter(tmp_path / "prepared" / "pairs" / split) as writer:
            writer.extend(tokens, np.ones(400, int), np.full(200, 2))
    checkpoint.vocabulary.save(tmp_path / "prepared" / "vocabulary.json")
    return tmp_path


def test_the_command_prints_a_table_and_writes_json(prepared):
    out = prepared / "figures" / "adversuc.json"
    arguments = [str(prepared / "checkpoint"), str(prepared / "prepared"), "--of", "pairs", "--contexts", "100"]
    ran = CliRunner().invoke(main, ["adversuc", *arguments, "--decoding", "greedy", "--json", str(out)])
    assert ran.exit_code == 0, ran.output
    assert "human or machine" in ran.output
    report = json.loads(out.read_text())
    assert report["contexts"]["train"] < 100  # less those with an unknown word
    assert report["adversuc"] == report["situations"]["human or machine"]["adversuc"]
    known = [one for one in report["situations"].values() if one["expected"] is not None]
    off = [abs(one["adversuc"] - one["expected"]) for one in known]
    assert len(known) == 4
    assert report["evaluator_reliability_error"] == pytest.approx(np.mean(off))
    human, machine = report["replies"]["human"], report["replies"]["machine"]
    assert human["mean_length"] == 1  # as the corpus was made
    assert machine["mean_length"] > 1
    assert 0 < machine["unique_share"] <= 1
    assert human["dull_share"] == machine["dull_share"] == 0


def test_the_default_decoding_is_judged_by_its_own_words_among_responses_as_long_as_they_may_be(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    generator = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        lengths = np.tile([2, 1, 2, 5], 50)  # contexts with a response too short for the model, and one that is not
        with StoreWriter(tmp_path / "prepared" / "pairs" / split) as writer:
            tokens = generator.integers(4, len(checkpoint.vocabulary), size=lengths.sum())
            writer.extend(tokens, lengths, np.full(100, 2))
    checkpoint.vocabulary.save(tmp_path / "prepared" / "vocabulary.json")
    report = adversuc(checkpoint, tmp_path / "prepared", "pairs", "default", count=200)
    assert report["decoding"]["retrieved"] == 0  # no index is asked, so none must be reported
    assert report["replies"]["human"]["mean_length"] == 5


def test_a_seed_that_is_too_large_is_refused(prepared):
    arguments = [str(prepared / "checkpoint"), str(prepared / "prepared"), "--of", "pairs", "--contexts", "50"]
    ran = CliRunner().invoke(main, ["adversuc", *arguments, "--seed", str(2**32)])
    assert ran.exit_code == 2
    assert "--seed" in ran.output


def test_a_corpus_that_is_too_small_is_refused_in_a_sentence(prepared):
    from chatbot.checkpoint import load_checkpoint

    with pytest.raises(ValueError, match="too few responses"):
        adversuc(load_checkpoint(prepared / "checkpoint"), prepared / "prepared", "pairs", count=20)


def test_a_folder_that_was_not_prepared_is_refused_in_a_sentence(prepared):
    ran = CliRunner().invoke(main, ["adversuc", "default", str(prepared / "nowhere")])
    assert ran.exit_code == 2
    assert "chatbot prepare" in ran.output
