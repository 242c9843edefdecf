"""How much of what was learned is kept."""

import torch

from chatbot.model import HRED, ModelConfig
from training.blending import best_blend, blended


def models() -> tuple[HRED, HRED]:
    torch.manual_seed(0)
    config = ModelConfig(vocabulary_size=20, embedding_size=4, encoder_size=4, state_size=4, decoder_size=4)
    return HRED(config), HRED(config)


def step_of(start: HRED, learned: HRED):
    """How far along the way a model is, by its output bias."""
    way = (learned.embedding.weight - start.embedding.weight).detach()
    return lambda model: float(((model.embedding.weight - start.embedding.weight) / way).detach().mean())


def test_a_blend_lies_on_the_line_between_both_and_changes_neither():
    start, learned = models()
    before = [value.clone() for value in start.state_dict().values()]
    middle = blended(start, learned, 0.5)
    for name, value in middle.state_dict().items():
        assert torch.allclose(value, (start.state_dict()[name] + learned.state_dict()[name]) / 2, atol=1e-6)
    assert all(torch.equal(old, new) for old, new in zip(before, start.state_dict().values(), strict=True))


def test_what_foretells_new_dialogues_best_is_kept_where_little_is_forgotten():
    start, learned = models()
    far = step_of(start, learned)
    assert best_blend(start, learned, lambda model: -far(model), far, most=1.01)[1] == 1.0
    assert best_blend(start, learned, lambda model: -far(model), far, most=0.6)[1] == 0.5
    assert best_blend(start, learned, lambda model: abs(far(model) - 0.7), far, most=1.01)[1] == 0.75


def test_no_more_is_asked_about_what_was_known_than_it_takes():
    start, learned = models()
    far, asked = step_of(start, learned), []
    assert best_blend(
        start, learned, lambda model: abs(far(model) - 0.7), lambda model: asked.append(model) or 1.0, 1.0
    )
    assert len(asked) == 1


def test_where_every_blend_forgets_too_much_the_least_changed_is_left_to_the_gate():
    start, learned = models()
    model, share = best_blend(start, learned, lambda model: 1.0, lambda model: 2.0, most=1.0)
    assert share == 0.25
    assert abs(step_of(start, learned)(model) - 0.25) < 1e-3
