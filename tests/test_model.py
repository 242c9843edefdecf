import numpy as np
import pytest
import torch

from chatbot.model import ModelConfig
from data.batches import make_batch
from data.vocabulary import BOS, EOS
from tests.tiny_checkpoint import tiny_model

VOCABULARY = 20


FAMILY = {
    "hred": {},
    "hred, one direction": {"bidirectional": False},
    "deep elman hred": {"cell": "elman", "layers": 2},
    "deep lstm hred": {"cell": "lstm", "layers": 3},
    "seq2seq": {"kind": "seq2seq"},
    "deep lstm seq2seq": {"kind": "seq2seq", "cell": "lstm", "layers": 2},
    "language model": {"kind": "language-model"},
    "deep lstm language model": {"kind": "language-model", "cell": "lstm", "layers": 2},
}


@pytest.fixture(scope="module", params=FAMILY.values(), ids=FAMILY.keys())
def model(request):
    return tiny_model(VOCABULARY, **request.param)


def dialogue(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(4, VOCABULARY, size=length) for length in lengths]


def response_logits(model, dialogues, openings=False) -> list[torch.Tensor]:
    """Logits (T, V) of every response, dialogue by dialogue, turn by turn, from one batch."""
    batch = make_batch(dialogues, openings)
    _, states = model.read(batch)
    logits = model.logits(model.write(batch.inputs, batch.response_sizes, states[batch.states]))
    by_response: dict[int, list[torch.Tensor]] = {}
    rows = iter(logits)
    for size in batch.response_sizes:
        for place in range(size):
            by_response.setdefault(place, []).append(next(rows))
    return [torch.stack(by_response[place]) for place in range(len(batch.responses))]


def turn_by_turn(model, utterances, openings=False) -> list[torch.Tensor]:
    """The same logits from the plain loop that serves a conversation: listen, then one word at a time."""
    state, logits = model.initial_state(1), []
    for place, utterance in enumerate(utterances):
        if place or openings:
            memory, words = model.start_decoding(state), []
            for token in [BOS, *utterance]:
                word, memory = model.decode_step(torch.tensor([token]), memory, state)
                words.append(word[0])
            logits.append(torch.stack(words))
        closed = torch.tensor([[*utterance, EOS]])
        state = model.listen(closed, torch.tensor([closed.shape[1]]), state)
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


@pytest.mark.parametrize("openings", [False, True])
def test_one_parallel_pass_gives_the_logits_of_the_turn_by_turn_loop(model, openings):
    dialogues = [dialogue(3, 5, 1, 7), dialogue(2, 4, seed=1), dialogue(6, 0, 2, seed=2)]
    expected = [logits for utterances in dialogues for logits in turn_by_turn(model, utterances, openings)]
    match_by_shape(expected, response_logits(model, dialogues, openings))


def test_a_dialogue_alone_and_in_a_batch_gives_the_same_logits(model):
    first, second = dialogue(3, 5, 9), dialogue(8, 2, 4, 6, seed=1)
    alone = [*response_logits(model, [first]), *response_logits(model, [second])]
    match_by_shape(alone, response_logits(model, [first, second]))


def test_padding_does_not_change_what_is_heard(model):
    wider = torch.tensor([[5, 6, EOS, 0, 0], [7, 8, 9, 10, EOS]])
    state = torch.randn(2, model.state_width, generator=torch.Generator().manual_seed(0))
    alone = model.listen(wider[:1, :3], torch.tensor([3]), state[:1])
    torch.testing.assert_close(model.listen(wider, torch.tensor([3, 5]), state)[:1], alone)


def test_the_state_changes_every_word_of_a_response(model):
    batch = make_batch([dialogue(3, 5)])
    _, states = model.read(batch)
    given = states[batch.states]
    told = model.write(batch.inputs, batch.response_sizes, given)
    untold = model.write(batch.inputs, batch.response_sizes, torch.zeros_like(given))
    assert ((told - untold).abs().amax(dim=1) > 1e-6).all()


def test_a_state_given_to_a_batch_is_carried_on(model):
    whole = dialogue(3, 4, 5, 2)
    _, states = model.read(make_batch([whole]))
    _, first = model.read(make_batch([whole[:2]]))
    _, rest = model.read(make_batch([whole[2:]]), first[-1:])
    torch.testing.assert_close(rest, states[2:])


@pytest.mark.parametrize("network", [one for one in FAMILY.values() if one.get("kind") != "language-model"])
def test_relevance_row_by_row_is_the_diagonal_of_all_pairs(network):
    model = tiny_model(VOCABULARY, **network)
    torch.manual_seed(0)
    states, vectors = torch.randn(3, model.state_width), torch.randn(3, model.config.vector_size)
    torch.testing.assert_close(model.relevance(states, vectors), (model.relevance_query(states) @ vectors.T).diagonal())


def test_a_flat_seq2seq_knows_the_last_utterance_only_and_the_others_all():
    def state_after(network, first: list[int]) -> torch.Tensor:
        model = tiny_model(VOCABULARY, **network)
        _, states = model.read(make_batch([[np.array(first), np.array([7, 8])]]))
        return states[-1]

    forgotten = [torch.equal(state_after(network, [4]), state_after(network, [5])) for network in FAMILY.values()]
    assert forgotten == ["seq2seq" in name for name in FAMILY]


@pytest.mark.parametrize("size", [0, -1, 2.5, "512"])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match="state_size"):
        ModelConfig(vocabulary_size=10, state_size=size)


@pytest.mark.parametrize("choice", [{"kind": "bert"}, {"cell": "qrnn"}, {"layers": 0}])
def test_an_unknown_network_is_refused(choice):
    with pytest.raises(ValueError, match=next(iter(choice))):
        ModelConfig(vocabulary_size=10, **choice)
