import io
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from chatbot.checkpoint import load_checkpoint
from chatbot.model import HRED, ModelConfig
from data.batches import Batch, make_batch
from data.store import StoreWriter, TokenStore
from data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary
from training.adversarial import AdversarialStage, discriminator_loss, rewards_of
from training.config import AdversarialConfig, ConfigError, read_recipe
from training.discriminator import Discriminator
from training.policy import Replies, log_probability, make_critic, policy_loss, sample, unpacked

_VOCABULARY = Vocabulary([*SPECIALS, *"abcdefgh"])
_KEYS = np.arange(4, 12)


def small_model(kind: str = "hred", std: float = 0.5) -> HRED:
    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "encoder_size": 8, "state_size": 8, "decoder_size": 8}
    model = HRED(ModelConfig(len(_VOCABULARY), kind=kind, **sizes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


@pytest.fixture
def store(tmp_path) -> TokenStore:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 5, size=60)
    with StoreWriter(tmp_path / "store") as writer:
        writer.extend(generator.integers(4, 12, size=lengths.sum()), lengths, np.full(20, 3))
    return TokenStore.open(tmp_path / "store")


def stage(store: TokenStore, folder: Path, **changes: object) -> AdversarialStage:
    defaults = {"rounds": 6, "batch_size": 4, "max_tokens": 5, "discriminator_size": 8, "discriminator_warmup": 2}
    config = AdversarialConfig(**{**defaults, "discriminator_steps": 2, "validate_every": 2, **changes})
    return AdversarialStage(config, small_model(std=0.1), _VOCABULARY, store, store, folder, "float32", seed=0)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def weights(*modules: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for module in modules for parameter in module.parameters()])


# The model as a policy


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_are_drawn_from_the_models_own_distribution(temperature):
    model, state = small_model(), torch.randn(1, 8)
    spoken = unpacked(sample(model, state.expand(20_000, -1), 2, temperature))
    logits, memory = model.decode_step(torch.tensor([BOS]), model.start_decoding(state), state)
    logits[:, [PAD, BOS]] = -torch.inf
    first = (logits / temperature).softmax(dim=1)[0]
    found = torch.tensor([reply[0] if reply else EOS for reply in spoken]).bincount(minlength=len(first)) / 20_000
    torch.testing.assert_close(found, first, rtol=0, atol=0.012)

    begun = int(first[4:].argmax()) + 4
    logits, _ = model.decode_step(torch.tensor([begun]), memory, state)
    logits[:, [PAD, BOS]] = -torch.inf
    second = torch.tensor([reply[1] if len(reply) > 1 else EOS for reply in spoken if reply[:1] == [begun]])
    share = second.bincount(minlength=len(first)) / len(second)
    torch.testing.assert_close(share, (logits / temperature).softmax(dim=1)[0], rtol=0, atol=0.03)


def test_at_temperature_zero_the_likeliest_words_are_said():
    model, states = small_model(), torch.randn(1, 8).expand(400, -1)
    likeliest = unpacked(sample(model, states, max_tokens=4, temperature=0))
    assert all(reply == likeliest[0] for reply in likeliest)
    memory, last, expected = model.start_decoding(states[:1]), BOS, []
    while last != EOS and len(expected) < 4:
        logits, memory = model.decode_step(torch.tensor([last]), memory, states[:1])
        last = int(logits[:, UNK:].index_fill(1, torch.tensor([BOS - UNK]), -torch.inf).argmax()) + UNK
        expected += [last] if last != EOS else []
    assert likeliest[0] == expected
    cooler, warmer = (unpacked(sample(model, states, 4, temperature)).count(expected) for temperature in (0.3, 1.0))
    assert 400 > cooler > warmer


def test_a_sample_ends_with_its_end_or_at_the_limit():
    replies = sample(small_model(), torch.randn(50, 8), max_tokens=4)
    spoken = unpacked(replies)
    assert {len(reply) for reply in spoken} >= {1, 4}
    assert sum(replies.sizes) == len(replies.targets) == sum(len(reply) + (len(reply) < 4) for reply in spoken)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_samples_log_probability_is_what_decoding_it_step_by_step_sums_to(temperature):
    model, states = small_model(), torch.randn(3, 8)
    replies = sample(model, states, 6, temperature)
    readouts = model.write(replies.inputs, replies.sizes, states[replies.order])
    expected = 0.0
    for state, reply in zip(states.split(1), unpacked(replies), strict=True):
        memory, last = model.start_decoding(state), BOS
        for token in [*reply, EOS][:6]:
            logits, memory = model.decode_step(torch.tensor([last]), memory, state)
            expected += float((logits.detach() / temperature).log_softmax(dim=1)[0, token])
            last = token
    found = log_probability(model, readouts, replies.targets, temperature)
    assert float(found.sum().detach()) == pytest.approx(expected, abs=1e-4)


def test_the_policy_gradient_makes_rewarded_words_likelier():
    model, states, wanted = small_model(std=0.1), torch.randn(64, 8), 7
    critic = make_critic(8)
    optimiser = torch.optim.Adam([*model.parameters(), *critic.parameters()], lr=0.02)

    def share() -> float:
        return float((sample(model, states, max_tokens=5).targets == wanted).float().mean())

    before = share()
    for _ in range(60):
        replies = sample(model, states, max_tokens=5)
        sum(policy_loss(model, critic, states, replies, (replies.targets == wanted).float())).backward()
        optimiser.step()
        optimiser.zero_grad()
    assert before < 0.2
    assert share() > 0.8


def test_a_reward_that_the_critic_foretold_changes_nothing():
    model, states = small_model(), torch.randn(8, 8)
    replies = sample(model, states, max_tokens=5)

    def certain(readouts: torch.Tensor) -> torch.Tensor:
        return torch.full((len(readouts), 1), 0.4)

    loss, surprise = policy_loss(model, certain, states, replies, torch.full((len(replies.targets),), 0.4))
    assert (float(loss.detach()), float(surprise)) == pytest.approx((0, 0))


# The discriminator


def echoes(generator: np.random.Generator, count: int) -> tuple[Batch, Replies]:
    """People answer with the word they heard, and the machine with another, so that neither alone tells them apart."""
    keys = generator.choice(_KEYS, size=count)
    batch = make_batch([[np.array([key]), np.array([key])] for key in keys])
    others = torch.from_numpy(np.array([generator.choice(np.setdiff1d(_KEYS, key)) for key in keys]))
    inputs = torch.cat([torch.full((count,), BOS), others])
    targets = torch.cat([others, torch.full((count,), EOS)])
    return batch, Replies(inputs, targets, [count, count], torch.arange(count))


def test_the_discriminator_learns_what_only_context_and_response_together_tell():
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    discriminator = Discriminator(len(_VOCABULARY), 24)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=0.01)
    for _ in range(150):
        discriminator_loss(discriminator, *echoes(generator, 64), max_tokens=5).backward()
        optimiser.step()
        optimiser.zero_grad()
    batch, machine = echoes(generator, 200)
    human = Replies(batch.inputs, batch.targets, batch.response_sizes, machine.order)
    discriminator.eval()
    assert (rewards_of(discriminator, batch, machine) < 0.5).float().mean() > 0.95
    assert (rewards_of(discriminator, batch, human) > 0.5).float().mean() > 0.95


def test_a_word_is_rewarded_as_if_the_reply_had_stopped_there():
    torch.manual_seed(0)
    discriminator = Discriminator(len(_VOCABULARY), 8).eval()
    batch = make_batch([[np.array([4, 5]), np.array([6]), np.array([7])], [np.array([8]), np.array([9, 10, 11])]])
    states = torch.randn(3, 8)
    replies = sample(small_model(), states, max_tokens=6)
    whole = rewards_of(discriminator, batch, replies)
    for limit in range(1, len(replies.sizes)):
        rows = sum(replies.sizes[:limit])
        cut = Replies(replies.inputs[:rows], replies.targets[:rows], replies.sizes[:limit], replies.order)
        torch.testing.assert_close(rewards_of(discriminator, batch, cut), whole[:rows])


# The stage


@pytest.mark.parametrize("kind", ["hred", "seq2seq", "language-model"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_kind_of_model_can_be_trained_against_a_discriminator(kind, precision, store, tmp_path):
    model = small_model(kind, std=0.1)
    before = weights(model)
    config = AdversarialConfig(rounds=2, batch_size=4, max_tokens=5, discriminator_size=8, discriminator_warmup=1)
    kept = AdversarialStage(config, model, _VOCABULARY, store, store, tmp_path / "run", precision, 0).run(quiet())
    assert not torch.equal(weights(model), before)
    torch.testing.assert_close(weights(kept), weights(model).half().float())


def test_a_validation_is_recorded_with_what_would_show_a_collapse(store, tmp_path):
    stage(store, tmp_path).run(quiet())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [0, 2, 4, 6]
    for name in ("perplexity", "fooled", "discriminator_accuracy", "distinct_2", "greedy_distinct_2", "mean_length"):
        assert all(row[name] >= 0 for row in rows)


def press_ctrl_c(stage: AdversarialStage, at: int) -> None:
    """Runs a stage until Ctrl-C is pressed in the midst of a round."""
    take = stage.optimiser.step

    def step_and_press() -> None:
        take()
        if stage.position.round == at:
            signal.raise_signal(signal.SIGINT)

    stage.optimiser.step = step_and_press
    with pytest.raises(KeyboardInterrupt):
        stage.run(quiet())


@pytest.mark.parametrize("at", [0, 3])
def test_a_stage_stopped_by_ctrl_c_ends_as_if_it_had_never_stopped(at, store, tmp_path):
    whole = stage(store, tmp_path / "whole")
    whole.run(quiet())
    press_ctrl_c(stage(store, tmp_path / "stopped"), at)
    resumed = stage(store, tmp_path / "stopped")
    assert resumed.position.round == at + 1
    resumed.run(quiet())
    for part in ("model", "discriminator", "critic"):
        torch.testing.assert_close(weights(getattr(resumed, part)), weights(getattr(whole, part)), rtol=0, atol=0)


def test_a_model_that_forgets_how_to_talk_ends_the_stage_and_the_one_before_is_kept(store, tmp_path):
    console = quiet()
    adrift = stage(store, tmp_path, teacher_forcing_weight=0.0, learning_rate=1.0)
    adrift.run(console)
    assert adrift.position.is_stopped
    assert 0 < adrift.position.round < 6
    assert "stopped, for perplexity" in console.file.getvalue()
    assert load_checkpoint(tmp_path / "kept").metrics["rounds"] == adrift.position.round - 2


def test_a_model_whose_weights_are_no_numbers_any_more_is_not_kept(store, tmp_path):
    adrift = stage(store, tmp_path, learning_rate=1e30, validate_every=1)
    adrift.run(quiet())
    assert adrift.position.is_stopped
    assert load_checkpoint(tmp_path / "kept").metrics["rounds"] == adrift.position.round - 1


def test_a_language_model_is_refused_a_stage_that_teaches_relevance(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'run = "r"\n[corpus]\nprepared = "p"\n[model]\nkind = "language-model"\n[train]\ntarget_tokens = 10\n'
        "[adversarial]\nrounds = 1\nrelevance_weight = 0.2\n"
    )
    with pytest.raises(ConfigError, match="a language-model has no relevance"):
        read_recipe(recipe)


def test_a_damaged_or_different_stage_is_refused_in_a_sentence(store, tmp_path):
    stage(store, tmp_path).run(quiet())
    with pytest.raises(ValueError, match="network of other sizes"):
        stage(store, tmp_path, discriminator_size=6)
    (tmp_path / "latest.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged"):
        stage(store, tmp_path)
