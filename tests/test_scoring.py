"""What a model makes of human responses, against plain loops over one response and one token at a time."""

import numpy as np
import pytest
import torch

from chatbot.model import HRED
from data.vocabulary import BOS, EOS
from tests.tiny_checkpoint import tiny_model
from training import scoring
from training.scoring import elsewhere, foretell, hear, pointwise_gains, relevances

VOCABULARY = 20
KINDS = [{"kind": "hred"}, {"kind": "seq2seq", "cell": "lstm"}, {"kind": "language-model", "layers": 2}]


def some_dialogues(lengths: list[int], seed: int = 0) -> list[list[list[int]]]:
    random = np.random.default_rng(seed)
    return [[random.integers(4, VOCABULARY, random.integers(1, 7)).tolist() for _ in range(n)] for n in lengths]


def by_steps(model: HRED, state: torch.Tensor, response: list[int]) -> tuple[float, int]:
    """- log p(response | state) and the tokens guessed wrong, one decoding step at a time."""
    memory, nats, wrong = model.start_decoding(state), 0.0, 0
    for before, token in zip([BOS, *response], [*response, EOS], strict=True):
        logits, memory = model.decode_step(torch.tensor([before]), memory, state)
        nats -= float(logits.log_softmax(dim=1)[0, token])
        wrong += int(logits.argmax()) != token
    return nats, wrong


@pytest.mark.parametrize("network", KINDS, ids=lambda network: network["kind"])
def test_every_response_is_foretold_as_one_token_at_a_time_would_be(network):
    model, dialogues = tiny_model(VOCABULARY, **network), some_dialogues([2, 5, 3, 1, 4])
    found = foretell(model, dialogues, np.random.default_rng(0))
    turns = [(place, turn) for place, dialogue in enumerate(dialogues) for turn in range(1, len(dialogue))]
    assert list(zip(found.dialogue, found.turn, strict=True)) == turns
    for row, (place, turn) in enumerate(turns):
        state = hear(model, [dialogues[place][:turn]])
        nats, wrong = by_steps(model, state, dialogues[place][turn])
        assert found.nats[row] == pytest.approx(nats, rel=1e-4)
        assert found.errors[row] == wrong
        assert found.tokens[row] == len(dialogues[place][turn]) + 1


def test_a_model_that_knows_nothing_has_the_vocabulary_as_its_perplexity():
    model = tiny_model(VOCABULARY)
    for parameter in model.parameters():
        parameter.zero_()
    found = foretell(model, some_dialogues([3, 3]), np.random.default_rng(0))
    assert np.exp(found.nats.sum() / found.tokens.sum()) == pytest.approx(VOCABULARY)


def test_shuffled_contexts_are_states_of_other_dialogues():
    model, dialogues = tiny_model(VOCABULARY), some_dialogues([3, 2])
    found = foretell(model, dialogues, np.random.default_rng(0))
    stranger = hear(model, [dialogues[0][:1], dialogues[0][:2]])
    possible = [by_steps(model, state[None], dialogues[1][1])[0] for state in stranger]
    shuffled = found.nats_shuffled[found.dialogue == 1].item()
    assert any(shuffled == pytest.approx(nats, rel=1e-4) for nats in possible)
    assert np.isnan(foretell(model, dialogues[:1], np.random.default_rng(0)).nats_shuffled).all()


def test_a_long_dialogue_is_read_in_windows_and_every_response_once(monkeypatch):
    monkeypatch.setattr(scoring, "WINDOW", 4)
    model, dialogues = tiny_model(VOCABULARY), some_dialogues([9, 2])
    found = foretell(model, dialogues, np.random.default_rng(0))
    assert found.turn.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 1]
    fresh = hear(model, [dialogues[0][3:5]])  # the second window begins with the last utterance of the first
    assert found.nats[4] == pytest.approx(by_steps(model, fresh, dialogues[0][5])[0], rel=1e-4)


def test_elsewhere_is_any_other_dialogue_and_never_the_own():
    dialogue = np.array([3, 7, 3, 9, 3])
    draws = np.array([elsewhere(dialogue, np.random.default_rng(seed)) for seed in range(200)])
    assert (dialogue[draws] != dialogue).all()
    assert set(draws[:, 0]) == {1, 3}
    assert set(draws[:, 1]) == {0, 2, 3, 4}
    assert elsewhere(np.array([5, 5]), np.random.default_rng(0)) is None


def test_relevances_and_gains_are_given_for_each_reply_to_its_own_state(monkeypatch):
    monkeypatch.setattr(scoring, "_ROWS", 2)
    model, replies = tiny_model(VOCABULARY), some_dialogues([2, 2, 2])
    states = hear(model, some_dialogues([1, 2, 3], seed=1))
    one = torch.tensor([[*replies[2][1], EOS]])
    vector = model.encode(one, torch.tensor([one.shape[1]]))
    assert relevances(model, states, replies)[2, 1] == pytest.approx(
        float(model.relevance(states[2:], vector)), rel=1e-4
    )
    given, alone = (by_steps(model, state, replies[2][1])[0] for state in (states[2:], model.initial_state(1)))
    assert pointwise_gains(model, states, replies)[2, 1] == pytest.approx(alone - given, rel=1e-3)
