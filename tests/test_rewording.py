import numpy as np
import torch

from data.batches import make_batch
from data.vocabulary import SPECIALS
from training.rewording import NEAR, SHARE, Rewording

FIRST = len(SPECIALS)
KNOWN, NEW = 40, 2  # words known before, and words that the lessons bring
OPEN, CLOSE, STRANGE = FIRST, FIRST + 1, FIRST + 2


def rewording(used: list[int]) -> Rewording:
    """OPEN and CLOSE lie on top of each other, the words after STRANGE around them; STRANGE lies alone."""
    embedding = torch.zeros(KNOWN, 3)
    embedding[:, 0] = 1
    embedding[STRANGE] = torch.tensor([-1.0, 0.0, 0.0])
    embedding[STRANGE + 1 :, 1] = torch.linspace(0.1, 3, KNOWN - STRANGE - 1)
    return Rewording(embedding, torch.tensor(used), KNOWN + NEW)


def test_words_of_lessons_give_way_to_near_ones_that_no_lesson_uses():
    torch.manual_seed(0)
    batch = make_batch([np.array([[OPEN] * 1_000, [CLOSE]], dtype=object)])
    counts = torch.zeros(KNOWN + NEW)
    for _ in range(1_000):
        read = rewording([OPEN, CLOSE, STRANGE])(batch)
        tokens, backwards = read.tokens.unique(), read.tokens_backwards.unique()
        assert torch.equal(tokens, backwards)  # one word for another throughout, from either end
        counts[tokens] += 1
        assert torch.equal(read.targets, batch.targets)
        assert torch.equal(read.inputs, batch.inputs)
    near = counts[STRANGE + 1 : STRANGE + 1 + NEAR]
    assert near.min() > 0
    assert abs(near.sum() / 2_000 - SHARE) < 0.03
    assert counts[STRANGE] == counts[STRANGE + 1 + NEAR :].sum() == 0


def test_a_word_without_neighbours_and_a_new_one_stay():
    batch = make_batch([np.array([[STRANGE, KNOWN, KNOWN + 1], [STRANGE]], dtype=object)])
    used = [*range(FIRST), STRANGE, KNOWN, KNOWN + 1]
    assert all(torch.equal(rewording(used)(batch).tokens, batch.tokens) for _ in range(100))
