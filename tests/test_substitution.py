"""Other words for the facts of conversations while training, and the same ones wherever a fact comes back."""

import json
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from data import kinds
from data.formats.corpora import written
from data.preparation import PrepareConfig, prepare
from data.store import TokenStore
from data.tokenizer import JOINER, tokenise
from data.vocabulary import SPECIALS, Vocabulary
from tests.test_loop import crash_at, quiet, weights
from tests.tiny_checkpoint import tiny_model
from training.config import CorpusConfig, Recipe, StageConfig
from training.loop import Stage
from training.substitution import Substitution
from training.train import train

KINDS = tomllib.loads(kinds.KINDS.read_text("utf-8"))
LISTED = {form for words in KINDS.values() for word in words.split() for form in word.split("/")}
TALK = ("my", "dog", "is", "called", "and", "i", "have", "you", "him", "he", "who", "that", "a", "good", "name", "in")
VOCABULARY = Vocabulary([*SPECIALS, *TALK, *sorted(LISTED), "plus", "times"])
WRITTEN = 1  # among the sources of a store


def substituted(*utterances: str, seed: int = 0) -> list[str]:
    ids = [np.array(VOCABULARY.encode(text), np.uint16) for text in utterances]
    changed = Substitution(VOCABULARY, WRITTEN).substituted(ids, np.random.default_rng(seed))
    assert [one.dtype for one in changed] == [one.dtype for one in ids]
    assert [len(one) for one in changed] == [len(one) for one in ids]
    return [" ".join(VOCABULARY.tokens[id] for id in one) for one in changed]


def kind_of(word: str) -> str:
    return next(kind for kind, words in KINDS.items() if word in words.replace("/", " ").split())


def test_a_fact_becomes_another_of_its_kind_wherever_it_comes_back():
    drawn = set()
    for seed in range(20):
        told, asked, again = substituted("my dog is called rex", "rex is a good name", "who is rex", seed=seed)
        name = told.split()[-1]
        assert (asked, again) == (f"{name} is a good name", f"who is {name}")
        assert name != "rex"
        assert kind_of(name) == "male_pets"
        drawn.add(name)
    assert len(drawn) > 4


def test_what_is_said_in_one_utterance_alone_stays():
    said = ["my dog is called rex and i called him rex", "is he a good dog", "anna is called anna"]
    assert substituted(*said) == [" ".join(VOCABULARY.tokens[id] for id in VOCABULARY.encode(text)) for text in said]


def test_two_facts_stay_two_and_none_becomes_a_word_of_the_dialogue():
    for seed in range(50):
        told, first, second = substituted("anna and emma and sarah", "anna is a name", "emma is a name", seed=seed)
        anna, emma, sarah = told.split()[::2]
        assert (first.split()[0], second.split()[0], sarah) == (anna, emma, "sarah")
        assert len({anna, emma, "anna", "emma", "sarah"}) == 5


def test_a_number_is_the_same_in_words_and_in_digits():
    told, again = substituted("i have 3", "you have three")
    words = dict(word.split("/") for word in KINDS["small_numbers"].split())
    assert words[again.split()[-1]] == told.split()[-1] != "3"


@pytest.mark.parametrize(
    "said", [("3 plus 4", "that is 7", "7"), ("i have 3 and 4", "3 is a good name"), ("3 times 3", "3 times")]
)
def test_numbers_of_which_one_may_follow_from_another_stay(said):
    assert substituted(*said) == list(said)


def test_words_that_the_vocabulary_lacks_are_neither_changed_nor_taken():
    few = Vocabulary([*SPECIALS, "is", "anna", "emma", "three", "4", "four"])
    ids = [np.array(few.encode(text)) for text in ("anna is three", "three is anna")]
    changed = Substitution(few, WRITTEN).substituted(ids, np.random.default_rng(0))
    assert [few.decode(one) for one in changed] == ["Emma is three", "Three is emma"]


def test_no_word_is_of_two_kinds():
    counts = Counter(form for words in KINDS.values() for word in words.split() for form in word.split("/"))
    assert [word for word, count in counts.items() if count > 1] == []
    assert "robin" not in counts  # the chatbot's own


def test_no_name_is_an_ordinary_word_where_the_chatbot_speaks():
    """The chatbot writes names with a capital: one that is written small as well has another meaning."""
    small = Counter(
        token.strip(JOINER)
        for one in written()
        if one.split != "test"
        for text in one.utterances[1::2]
        for token in tokenise(text)
    )
    names = {word for kind in ("women", "men", "towns") for word in KINDS[kind].split()}
    assert {name: small[name] for name in names if small[name]} == {}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Ten of the conversations of `written` and ten of another corpus that say the same."""
    folder = tmp_path_factory.mktemp("corpora")
    lines = []
    for number in range(10):
        turns = (f"My name is Anna and this is talk {number}.", "Hello Anna, nice to meet you.", f"Anna is {number}.")
        lines.append(json.dumps({"messages": [{"content": text} for text in turns]}))
    (folder / "talk.jsonl").write_text("\n".join(lines), encoding="utf-8")
    prepare(["written", str(folder / "talk.jsonl")], folder / "prepared", PrepareConfig(vocabulary_size=3_000))
    return folder / "prepared"


def test_dialogues_of_written_alone_are_changed_and_anew_at_each_epoch(prepared):
    vocabulary = Vocabulary.load(prepared / "vocabulary.json")
    found = Substitution.of(prepared, vocabulary)
    store = TokenStore.open(prepared / "dialogues" / "train")
    first, again, second = (found.view(store, seed=3, epoch=epoch) for epoch in (0, 0, 1))
    own = json.loads((prepared / "sources.json").read_text()).index("written")
    assert set(np.asarray(store.sources)) == {0, 1}
    assert 8 <= int((store.sources != own).sum()) <= 10
    changed = 0
    for place in range(len(store)):
        before, one, same, other = (list(map(list, view[place])) for view in (store, first, again, second))
        assert one == same
        if store.sources[place] != own:
            assert one == other == before
        changed += one != before and one != other
    assert changed > 0.15 * len(store)


def test_half_of_a_store_keeps_telling_what_is_of_written(prepared):
    store = TokenStore.open(prepared / "dialogues" / "train")
    assert store.every_other(1).sources.tolist() == store.sources[1::2].tolist()


@pytest.mark.parametrize("section", ["pretrain", "train"])
def test_a_recipe_that_cannot_substitute_says_so_before_it_begins(section, tmp_path):
    (tmp_path / "talk.jsonl").write_text(
        "\n".join(
            json.dumps({"messages": [{"content": f"{text} {number}."} for text in ("Hello", "Who is there", "Me")]})
            for number in range(20)
        ),
        encoding="utf-8",
    )
    prepare([str(tmp_path / "talk.jsonl")], tmp_path / "prepared", PrepareConfig())
    plain, changing = StageConfig(target_tokens=10), StageConfig(target_tokens=10, substitute=True)
    stages = {"train": plain, "pretrain": plain, section: changing}
    recipe = Recipe(run=tmp_path / "run", corpus=CorpusConfig(tmp_path / "prepared"), **stages)
    with pytest.raises(ValueError, match="prepare it again with 'written' among the sources"):
        train(recipe, quiet())
    assert not (tmp_path / "run").exists()


def _stage(store: TokenStore, folder: Path, substitution: Substitution | None) -> Stage:
    torch.manual_seed(0)
    config = StageConfig(target_tokens=400, batch_size=2, validate_every=10_000, openings=True)
    model = tiny_model(len(VOCABULARY)).requires_grad_(True)
    return Stage("train", config, model, VOCABULARY, store, store, folder, "float32", 5, substitution)


def test_a_stage_that_was_stopped_learns_the_same_words_as_one_that_was_not(tmp_path):
    store = _small_store()
    whole = _stage(store, tmp_path / "whole", Substitution(VOCABULARY, WRITTEN)).run(quiet())
    crash_at(_stage(store, tmp_path / "stopped", Substitution(VOCABULARY, WRITTEN)), step=5)
    resumed = _stage(store, tmp_path / "stopped", Substitution(VOCABULARY, WRITTEN)).run(quiet())
    plain = _stage(store, tmp_path / "plain", None).run(quiet())
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(whole), weights(plain))


def _small_store() -> TokenStore:
    texts = [
        (f"my dog is called {name}", f"{name} is a good name", f"who is {name}") for name in ("rex", "anna", "rome")
    ]
    utterances = [VOCABULARY.encode(text) for talk in texts for text in talk]
    ends = np.cumsum([0, *map(len, utterances)])
    return TokenStore(np.concatenate(utterances), ends, np.array([0, 3, 6, 9]), sources=np.array([WRITTEN] * 3))
