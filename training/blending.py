"""How much of what a checkpoint has learned it keeps: weights on the line between those it started with and those it
ended with, which often foretell better than either, both what is new and what was known (Wortsman et al., 2022, "Robust
fine-tuning of zero-shot models")."""

from collections.abc import Callable

import torch

from chatbot.model import HRED

SHARES = (1.0, 0.75, 0.5, 0.25)  # of the way from where learning started


def blended(start: HRED, learned: HRED, share: float) -> HRED:
    """A new model, `share` of the way from one to the other of the same shape."""
    model = HRED(start.config)
    ends = learned.state_dict()
    model.load_state_dict({name: torch.lerp(value, ends[name], share) for name, value in start.state_dict().items()})
    return model.eval()


def best_blend(
    start: HRED, learned: HRED, of_new: Callable[[HRED], float], of_known: Callable[[HRED], float], most: float
) -> tuple[HRED, float]:
    """The blend that foretells the new dialogues best of those that foretell the known ones well, and its share.

    `of_new` and `of_known` give perplexities; `most` is the highest allowed of the known ones. Where no blend keeps to
    it, the one that has learned least is returned: the gate will say what is wrong with it.
    """
    blends = [(blended(start, learned, share), share) for share in SHARES]
    best_first = sorted(blends, key=lambda blend: of_new(blend[0]))
    allowed = (blend for blend in best_first if of_known(blend[0]) <= most)  # looked at one by one: it takes long
    return next(allowed, blends[-1])
