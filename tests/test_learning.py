"""It learns: tasks whose answers are known, so that a broken part shows and not only a wrong shape."""

import numpy as np
import pytest
import torch

from chatbot.model import HRED, ModelConfig
from data.batches import make_batch
from data.vocabulary import BOS, EOS
from training.objective import Objective

_KEYS, _FILLERS = range(4, 12), range(12, 16)


def learned(dialogues_of, steps: int, **network) -> HRED:
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    model = HRED(ModelConfig(16, embedding_size=16, encoder_size=16, state_size=24, decoder_size=24, **network))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        Objective()(model, make_batch(dialogues_of(generator, 32))).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.requires_grad_(False)


def last_response(model: HRED, context: list[np.ndarray]) -> list[int]:
    """What greedy decoding says after the utterances of a context."""
    state = model.initial_state(1)
    for utterance in context:
        closed = torch.tensor([[*utterance, EOS]])
        state = model.listen(closed, torch.tensor([closed.shape[1]]), state)
    said, token, memory = [], BOS, model.start_decoding(state)
    while token != EOS and len(said) < 10:
        logits, memory = model.decode_step(torch.tensor([token]), memory, state)
        token = int(logits.argmax())
        said.append(token)
    return said[:-1]


def accuracy(model: HRED, dialogues: list[list[np.ndarray]]) -> float:
    right = [last_response(model, dialogue[:-1]) == dialogue[-1].tolist() for dialogue in dialogues]
    return sum(right) / len(right)


def copies(generator, count):
    """An utterance of two words, and the same again."""
    utterances = generator.choice(_KEYS, size=(count, 2))
    return [[utterance, utterance] for utterance in utterances]


def recalls(generator, count):
    """A key, something else, and the key again: the answer lies two utterances back."""
    keys, fillers = generator.choice(_KEYS, size=(count, 1)), generator.choice(_FILLERS, size=(count, 2))
    return list(map(list, zip(keys, fillers, keys, strict=True)))


def test_it_learns_to_copy_an_utterance():
    model = learned(copies, steps=300)
    assert accuracy(model, copies(np.random.default_rng(1), 50)) > 0.95


@pytest.mark.parametrize(
    "network",
    [{}, {"cell": "lstm"}, {"cell": "elman"}],
    ids=str,
)
def test_what_remembers_recalls_a_word_from_two_utterances_back(network):
    model = learned(recalls, steps=400, **network)
    assert accuracy(model, recalls(np.random.default_rng(1), 50)) > 0.95


def test_a_language_models_own_memory_reaches_back_as_far():
    """It has to carry the word through all that was said since, so it learns more slowly."""
    model = learned(recalls, steps=500, kind="language-model")
    assert accuracy(model, recalls(np.random.default_rng(1), 50)) > 0.6


def test_a_flat_seq2seq_has_lost_it():
    model = learned(recalls, steps=250, kind="seq2seq")
    assert accuracy(model, recalls(np.random.default_rng(1), 50)) < 0.4  # chance is 1 in 8
