import numpy as np
import pytest
import torch

from chatbot.model import ModelConfig
from data.batches import make_batch
from data.vocabulary import BOS, EOS
from tests.tiny_checkpoint import tiny_model

VOCABULARY = 20


@pytest.fixture(scope="module")
def model():
    return tiny_model(VOCABULARY)


def dialogue(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(4, VOCABULARY, size=length) for length in lengths]


def response_logits(model, dialogues) -> list[torch.Tensor]:
    """Logits (T, V) of every response, dialogue by dialogue, turn by turn, from one batch."""
    batch = make_batch(dialogues)
    _, states = model.read(batch)
    logits = model.logits(model.write(batch.inputs, batch.response_sizes, states[batch.states]))
    by_response: dict[int, list[torch.Tensor]] = {}
    rows = iter(logits)
    for size in batch.response_sizes:
        for place in range(size):
            by_response.setdefault(place, []).append(next(rows))
    return [torch.stack(by_response[place]) for place in range(len(batch.responses))]


def turn_by_turn(model, utterances) -> list[torch.Tensor]:
    """The same logits from the plain loop that serves a conversation: encode, track, one word at a time."""
    state, logits = model.initial_state(1), []
    for place, utterance in enumerate(utterances):
        if place:
            memory, words = model.start_decoding(state), []
            for token in [BOS, *utterance]:
                word, memory = model.decode_step(torch.tensor([token]), memory, state)
                words.append(word[0])
            logits.append(torch.stack(words))
        closed = torch.tensor([[*utterance, EOS]])
        state = model.track(model.encode(closed, torch.tensor([closed.shape[1]])), state)
    return logits


def match_by_shape(expected, found):
    """Responses of a batch come in order of length; every expected one must be found."""
    found = list(found)
    for logits in expected:
        index = next(
            i
            for i, other in enumerate(found)
            if other.shape == logits.shape and torch.allclose(logits, other, atol=1e-5)
        )
        found.pop(index)
    assert not found


def test_one_parallel_pass_gives_the_logits_of_the_turn_by_turn_loop(model):
    dialogues = [dialogue(3, 5, 1, 7), dialogue(2, 4, seed=1), dialogue(6, 0, 2, seed=2)]
    expected = [logits for utterances in dialogues for logits in turn_by_turn(model, utterances)]
    match_by_shape(expected, response_logits(model, dialogues))


def test_a_dialogue_alone_and_in_a_batch_gives_the_same_logits(model):
    first, second = dialogue(3, 5, 9), dialogue(8, 2, 4, 6, seed=1)
    alone = [*response_logits(model, [first]), *response_logits(model, [second])]
    match_by_shape(alone, response_logits(model, [first, second]))


def test_padding_does_not_change_an_utterance_vector(model):
    utterance = torch.tensor([[5, 6, EOS]])
    wider = torch.tensor([[7, 8, 9, 10, EOS], [5, 6, EOS, 0, 0]])
    alone = model.encode(utterance, torch.tensor([3]))
    torch.testing.assert_close(model.encode(wider, torch.tensor([5, 3]))[1], alone[0])


def test_the_state_changes_every_word_of_a_response(model):
    batch = make_batch([dialogue(3, 5)])
    _, states = model.read(batch)
    given = states[batch.states]
    told = model.write(batch.inputs, batch.response_sizes, given)
    untold = model.write(batch.inputs, batch.response_sizes, torch.zeros_like(given))
    assert ((told - untold).abs().amax(dim=1) > 1e-4).all()


def test_a_state_given_to_a_batch_is_carried_on(model):
    whole = dialogue(3, 4, 5, 2)
    _, states = model.read(make_batch([whole]))
    _, first = model.read(make_batch([whole[:2]]))
    _, rest = model.read(make_batch([whole[2:]]), state=first[-1:])
    torch.testing.assert_close(rest, states[2:])


def test_relevance_row_by_row_is_the_diagonal_of_all_pairs(model):
    torch.manual_seed(0)
    states, vectors = torch.randn(3, 10), torch.randn(3, 12)
    torch.testing.assert_close(model.relevance(states, vectors), (model.relevance_query(states) @ vectors.T).diagonal())


@pytest.mark.parametrize("size", [0, -1, 2.5, "512"])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match="state_size"):
        ModelConfig(vocabulary_size=10, state_size=size)
