"""What the cells remember: how often a fact is recalled that was stated k utterances before it is asked for.

The task: a fact of three words is named, k - 1 utterances of five words of filler follow, the last utterance before the
answer asks, and the answer is the fact. (With a fact of one word of eight, or fillers of one word of eight, it is too
easy: every cell learns to keep that.) A small network of each kind learns it with k drawn from 1 to 20, near ones more
often (evenly on a logarithmic scale), and is then asked.
"""

import time
from typing import Any

import numpy as np
import torch
from rich.console import Console

from chatbot.model import HRED, ModelConfig
from data.batches import make_batch
from data.progress import track
from data.vocabulary import SPECIALS
from training.objective import Objective

FARTHEST = 20  # utterances back
FACT, KEYS = 3, 16  # words of a fact, and how many there are to choose each from
NETWORKS: dict[str, dict[str, Any]] = {
    "elman": {"cell": "elman"},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "seq2seq": {"kind": "seq2seq"},
}
STEPS = 2_500
SEEDS = (0, 1, 2)
RATES = (2e-3, 5e-3)  # the better for each network and seed: Elman's cells need the lower, LSTM's the higher
_BATCH, _ASKED = 64, 500  # dialogues of a step, and of each k
_CLIP_NORM = 1.0

_KEY = len(SPECIALS)  # the first of the KEYS words
_ASK = _KEY + KEYS
_FILLERS = range(_ASK + 1, _ASK + 65)
_FILLER_WORDS = 5  # of an utterance between the fact and its answer


def measure_memory(name: str, steps: int, console: Console) -> dict[str, Any]:
    """Share of right words by k, 1 to FARTHEST, of a network trained from each seed."""
    started = time.monotonic()
    found = [_best(NETWORKS[name], steps, seed, console) for seed in SEEDS]
    rates, recall = zip(*found, strict=True)
    seconds = round(time.monotonic() - started)
    return {"network": name, "steps": steps, "learning_rates": rates, "recall": recall, "seconds": seconds}


def dialogue(k: int, random: np.random.Generator) -> list[np.ndarray]:
    """The ids of k utterances, the first of which names the fact, and of the answer."""
    fact = (_KEY + random.integers(KEYS, size=FACT)).tolist()
    utterances = [[*fact], *random.choice(_FILLERS, (k - 1, _FILLER_WORDS)).tolist()]
    utterances[-1].append(_ASK)
    return [np.array(utterance) for utterance in (*utterances, fact)]


def _best(network: dict[str, Any], steps: int, seed: int, console: Console) -> tuple[float, list[float]]:
    """The learning rate that is the better one on some dialogues, and the recall it leads to on others."""
    models = {rate: _learned(network, steps, rate, seed, console) for rate in RATES}
    best = max(RATES, key=lambda rate: np.mean(_recall(models[rate], np.random.default_rng((seed, 1)))))
    return best, _recall(models[best], np.random.default_rng((seed, 2)))


def _learned(network: dict[str, Any], steps: int, rate: float, seed: int, console: Console) -> HRED:
    torch.manual_seed(seed)
    random = np.random.default_rng((seed, 0))
    sizes = ModelConfig(_FILLERS.stop, 32, 32, 64, 64, bidirectional=False, **network)
    model, objective = HRED(sizes), Objective()
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, steps)
    for _ in track(range(steps), f"seed {seed}, learning rate {rate}", console):
        dialogues = [dialogue(int(k), random) for k in (FARTHEST + 1) ** random.random(_BATCH)]
        objective(model, make_batch(dialogues)).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP_NORM)
        optimiser.step()
        optimiser.zero_grad()
        falling.step()
    return model


@torch.no_grad()
def _recall(model: HRED, random: np.random.Generator) -> list[float]:
    """The share of the fact's words that are right, by k; each is foretold with the true ones before it at hand."""
    found = []
    for k in range(1, FARTHEST + 1):
        batch = make_batch([dialogue(k, random) for _ in range(_ASKED)])
        _, states = model.read(batch)
        said = model.logits(model.write(batch.inputs, batch.response_sizes, states[batch.states])).argmax(dim=1)
        of_fact = (batch.targets >= _KEY) & (batch.targets < _ASK)
        found.append(round(float((said == batch.targets)[of_fact].float().mean()), 4))
    return found
