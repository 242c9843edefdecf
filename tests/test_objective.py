import numpy as np
import pytest
import torch
from torch.nn import functional as F

from chatbot.decoding.utterances import encode_utterances
from data.batches import make_batch
from data.vocabulary import BOS, UNK
from tests.tiny_checkpoint import tiny_model
from training.objective import Objective, cross_entropy, distillation
from training.policy import sample, unpacked

VOCABULARY = 20


def some_batch():
    generator = np.random.default_rng(0)
    return make_batch([[generator.integers(4, VOCABULARY, size=n) for n in lengths] for lengths in [(3, 5, 2), (4, 7)]])


def test_chunked_cross_entropy_and_its_gradients_are_pytorchs_own():
    torch.manual_seed(0)
    shapes = {"readouts": (1100, 4), "weight": (9, 4), "bias": (9,)}  # more rows than two chunks hold
    values = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    ours, theirs = ([value.clone().requires_grad_() for value in values.values()] for _ in range(2))
    targets = torch.randint(9, (1100,))
    (3 * cross_entropy(*ours, targets)).backward()
    readouts, weight, bias = theirs
    (3 * F.cross_entropy(readouts @ weight.T + bias, targets, reduction="sum")).backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_weighted_terms_and_their_gradients_are_those_of_likelihood_and_unlikelihood():
    torch.manual_seed(0)
    shapes = {"readouts": (700, 4), "weight": (9, 4), "bias": (9,)}
    values = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    ours, theirs = ([value.clone().requires_grad_() for value in values.values()] for _ in range(2))
    targets, weights = torch.randint(9, (700,)), torch.randn(700, dtype=torch.float64)
    mine = cross_entropy(*ours, targets, weights)
    (3 * mine).backward()
    readouts, weight, bias = theirs
    p = (readouts @ weight.T + bias).softmax(dim=1).gather(1, targets[:, None])[:, 0]
    expected = torch.where(weights > 0, -weights * p.log(), weights * (1 - p).log()).sum()
    (3 * expected).backward()
    assert float(mine.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_a_response_not_to_be_given_becomes_unlikely_and_the_others_are_learned():
    torch.manual_seed(0)
    model = tiny_model(VOCABULARY).requires_grad_(True)
    dialogues = [[np.array([5]), np.array([6, 7])], [np.array([8]), np.array([9, 10])]]
    batch = make_batch(dialogues, weights=[np.array([0, 1]), np.array([0, -1])])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)

    def nats(dialogue):
        alone = make_batch([dialogue])
        return float(Objective()(model, alone).entropy)

    before = [nats(dialogue) for dialogue in dialogues]
    for _ in range(50):
        Objective(relevance_weight=0.2)(model, batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    liked, disliked = (nats(dialogue) for dialogue in dialogues)
    assert liked < before[0] / 2
    assert disliked > 2 * before[1]


def test_distillation_leads_a_model_to_its_teacher_which_may_know_fewer_words():
    torch.manual_seed(0)
    teacher, model, batch = tiny_model(VOCABULARY), tiny_model(VOCABULARY + 2, seed=1), some_batch()
    model.requires_grad_(True)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    least = float(distillation(teacher, teacher, batch).entropy)  # what the teacher itself is unsure of
    before = float(distillation(model, teacher, batch).entropy)
    for _ in range(150):
        distillation(model, teacher, batch, relevance_weight=0.2).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    after = float(distillation(model, teacher, batch).entropy)
    assert least < after < least + (before - least) / 5


def test_bfloat16_finds_the_loss_of_float32():
    model, batch = tiny_model(VOCABULARY), some_batch()
    exact = Objective()(model, batch).entropy
    with torch.autocast("cpu", torch.bfloat16):
        rough = Objective()(model, batch).entropy
    assert float(rough) == pytest.approx(float(exact), rel=0.01)


def test_a_hidden_context_is_a_zero_state():
    model, batch = tiny_model(VOCABULARY), some_batch()
    hidden = Objective(context_dropout=0.999999)(model, batch).entropy
    state = torch.zeros(len(batch.responses), model.config.state_size)
    readouts = model.write(batch.inputs, batch.response_sizes, state)
    expected = cross_entropy(readouts, model.embedding.weight, model.output_bias, batch.targets) / len(batch.targets)
    assert float(hidden) == pytest.approx(float(expected), rel=1e-5)


def test_hidden_words_are_unknown_and_the_first_is_never_hidden():
    inputs = torch.tensor([BOS] * 100 + [7] * 1000)
    hidden = Objective(word_dropout=0.3)._hide_words(inputs)
    assert (hidden[:100] == BOS).all()
    assert 200 < int((hidden[100:] == UNK).sum()) < 400


def test_reinjected_words_are_drawn_from_what_the_model_says_there():
    """A decoder that always says word 9 reads 9 wherever its own words are reinjected, and BOS stays first."""
    model, batch = tiny_model(VOCABULARY), some_batch()
    model.output_bias[9] = 1e6
    _, states = model.read(batch)
    objective = Objective(reinjection=0.5)
    inputs = torch.cat([objective._reinject(model, batch, states[batch.states], progress=1.0) for _ in range(50)])
    truth = batch.inputs.repeat(50)
    assert (inputs[truth == BOS] == BOS).all()
    changed = (inputs != truth)[truth != BOS].float().mean()
    assert (inputs[inputs != truth] == 9).all()
    assert 0.4 < float(changed) < 0.6


def test_a_reinjected_word_follows_the_true_words_before_it():
    """Where the model repeats the word it has just read, the reinjected word is the true word before."""
    model, batch = tiny_model(VOCABULARY), some_batch()
    model.write = lambda inputs, sizes, state: F.one_hot(inputs, VOCABULARY).float()
    model.logits = lambda readouts: 1e6 * readouts
    inputs = Objective(reinjection=1.0)._reinject(model, batch, torch.zeros(3, 10), progress=1.0)
    rows = torch.nn.utils.rnn.PackedSequence(batch.inputs, torch.tensor(batch.response_sizes))
    padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(rows)
    reinjected, _ = torch.nn.utils.rnn.pad_packed_sequence(rows._replace(data=inputs))
    for row, length in enumerate(lengths):
        assert torch.equal(reinjected[1:length, row], padded[: length - 1, row])


@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_the_reinjected_share_rises_from_nothing_to_what_was_asked_for(schedule):
    objective = Objective(reinjection=0.4, schedule=schedule)
    shares = [objective.reinjected_share(progress / 10) for progress in range(11)]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0, abs=0.01)
    assert shares[5] == pytest.approx(0.2)
    assert shares[10] == pytest.approx(0.4, abs=0.01)


def test_one_batch_can_be_learned_by_heart():
    torch.manual_seed(0)
    model, batch = tiny_model(VOCABULARY).requires_grad_(True), some_batch()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    objective = Objective(relevance_weight=0.2)
    for _ in range(300):
        losses = objective(model, batch)
        losses.total.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert float(losses.entropy) < 0.05


def test_relevance_learns_which_response_belongs_to_which_state():
    torch.manual_seed(0)
    model, batch = tiny_model(VOCABULARY).requires_grad_(True), some_batch()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        Objective(relevance_weight=1.0)(model, batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    vectors, states = model.read(batch)
    scores = model.relevance_query(states[batch.states]) @ vectors[batch.responses].T
    assert (scores.argmax(dim=1) == torch.arange(len(scores))).all()


def test_relevance_learns_to_tell_a_response_from_what_the_model_itself_would_say():
    torch.manual_seed(0)
    model = tiny_model(VOCABULARY).requires_grad_(True)
    dialogue = make_batch([[np.array([5]), np.array([6, 7])]])  # one response: in its batch there is no other
    optimiser = torch.optim.Adam([*model.encoder.parameters(), *model.relevance_map.parameters()], lr=0.02)

    def lead():
        """By how much the response's relevance is above that of the model's own replies."""
        vectors, states = model.read(dialogue)
        state = states[dialogue.states]
        own = encode_utterances(model, unpacked(sample(model, state.expand(50, -1), 30, 0.8)))
        query = model.relevance_query(state)
        return float((query @ vectors[dialogue.responses].T - query @ own.T).mean())

    with torch.no_grad():
        before = lead()
    for _ in range(50):
        Objective(relevance_weight=1.0, own_replies=0.9)(model, dialogue).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        assert lead() > before + 1


def test_without_replies_of_its_own_the_contrast_is_among_the_responses_alone():
    model, batch = tiny_model(VOCABULARY), some_batch()
    total = {share: float(Objective(relevance_weight=1.0, own_replies=share)(model, batch).total) for share in (0, 1)}
    assert total[1] > total[0]
