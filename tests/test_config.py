from pathlib import Path

import pytest

from training.choosing.recipe import read_chooser_recipe
from training.config import ConfigError, read_recipe

_SMALLEST = 'run = "r"\n[corpus]\nprepared = "p"\n[train]\ntarget_tokens = 10\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_of_the_least_keys_is_enough(tmp_path):
    recipe = read_recipe(write(tmp_path, _SMALLEST))
    assert (recipe.pretrain, recipe.word2vec, recipe.train.target_tokens) == (None, None, 10)


@pytest.mark.parametrize(
    "shipped", sorted(Path(__file__).parents[1].glob("configs/*.toml")), ids=lambda path: path.name
)
def test_every_shipped_recipe_can_be_read(shipped):
    if shipped.name == "chooser.toml":
        assert read_chooser_recipe(shipped).comparison_steps > 0
    else:
        assert read_recipe(shipped).train.target_tokens > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_SMALLEST + "learning_rat = 0.1\n", "no key 'train.learning_rat'"),
        (_SMALLEST + "[trian]\n", "no key 'trian'"),
        (_SMALLEST + "word_dropout = 1.5\n", "'train.word_dropout' cannot be 1.5"),
        (_SMALLEST + 'batch_size = "big"\n', "'train.batch_size' cannot be 'big'"),
        (_SMALLEST + "batch_size = true\n", "'train.batch_size' cannot be True"),
        (_SMALLEST + "max_turns = 1\n", "'train.max_turns' cannot be 1"),
        (_SMALLEST + "[model]\nstate_size = 0\n", "'model.state_size' cannot be 0"),
        (_SMALLEST + '[model]\nkind = "bert"\n', "'model.kind' cannot be 'bert'"),
        (_SMALLEST + 'relevance_weight = 0.2\n[model]\nkind = "language-model"\n', "has no relevance"),
        (_SMALLEST + 'carry_state = true\n[model]\nkind = "seq2seq"\n', "has no state to carry"),
        (_SMALLEST + "frozen_words_tokens = 5\n", "add [word2vec]"),
        (_SMALLEST + "final_learning_rate = 0.1\n", "final_learning_rate is where learning_rate comes down to"),
        ('precision = "float8"\n' + _SMALLEST, "'precision' cannot be 'float8'"),
        ('run = "r"\n[train]\ntarget_tokens = 10\n', "key 'corpus' is missing"),
        ("run = \n", "not valid TOML"),
    ],
)
def test_an_unknown_or_impossible_key_is_one_clear_sentence(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        read_recipe(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[model]\nkind = "language-model"\nbidirectional = true\n', "'model.bidirectional' has no effect, for a lang"),
        ('[model]\nkind = "language-model"\nencoder_size = 8\n', "'model.encoder_size' has no effect"),
        ('[model]\nkind = "seq2seq"\nstate_size = 8\n', "'model.state_size' has no effect, for a seq2seq"),
        ('[word2vec]\nfile = "v.bin"\nepochs = 2\n', "'word2vec.epochs' has no effect"),
        ("[pretrain]\ntarget_tokens = 5\ncarry_state = true\n", "'pretrain.carry_state' has no effect"),
        ('corpus = "pairs"\nmax_turns = 3\n', "'train.max_turns' has no effect"),
        ("own_replies = 0.1\n", "'train.own_replies' has no effect, for relevance_weight is 0"),
        ('reinjection_schedule = "sigmoid"\n', "'train.reinjection_schedule' has no effect, for nothing is"),
        ('[adversarial]\nrounds = 1\ncorpus = "pairs"\nmax_turns = 3\n', "'adversarial.max_turns' has no effect"),
        (
            "[adversarial]\nrounds = 1\nteacher_forcing_weight = 0.0\nrelevance_weight = 0.2\n",
            "'adversarial.relevance_weight' has no effect, for teacher_forcing_weight is 0; leave it out.",
        ),
    ],
)
def test_a_key_that_would_change_nothing_is_refused(tmp_path, more, said):
    with pytest.raises(ConfigError) as refused:
        read_recipe(write(tmp_path, _SMALLEST + more))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[model]\ncell = 'lstm'\n", "'model' has no effect, for 'default' brings its own; leave it out."),
        ("[word2vec]\n", "'word2vec' has no effect, for 'default' brings its own"),
        ("", "'corpus.vocabulary_size' has no effect, for 'default' brings its own words"),
    ],
)
def test_what_a_checkpoint_to_start_with_brings_is_not_asked_for_again(tmp_path, more, said):
    sized = _SMALLEST.replace('prepared = "p"', 'prepared = "p"\nvocabulary_size = 9') + more
    with pytest.raises(ConfigError) as refused:
        read_recipe(write(tmp_path, 'start = "default"\n' + sized))
    assert said in str(refused.value)


def test_what_says_that_nothing_is_wanted_may_stand_anywhere(tmp_path):
    more = 'reinjection = 0.0\n[model]\nkind = "language-model"\nbidirectional = false\n'
    assert not read_recipe(write(tmp_path, _SMALLEST + more)).model.bidirectional


def test_a_missing_or_unreadable_recipe_is_one_clear_sentence(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_recipe(tmp_path / "binary.toml")
