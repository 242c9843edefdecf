"""How fast a training step is, beside the same network on packed `torch.nn.GRU` in plain float32.

    python benchmarks/train_step.py [PREPARED] [--steps 30]

Both learn the same batches from the same weights, in turn, so that the ratio holds while the machine's speed drifts;
the held-out loss of both shows that speed costs no accuracy. Sizes: V of the corpora, E 300, H 512, 80 dialogues.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from chatbot.model import HRED, ModelConfig
from data.batches import Batch, batches
from data.store import TokenStore
from data.vocabulary import Vocabulary
from training.objective import Objective

_DIALOGUES, _TURNS, _HELD_OUT = 80, 10, 3


class PlainGRU(nn.Module):
    """The interface of chatbot.recurrent.RecurrentLayer on `torch.nn.GRU`; a constant input is fed at every step."""

    def __init__(self, ours: nn.Module, constant: nn.Linear | None = None) -> None:
        super().__init__()
        self.hidden_size = self.memory_size = ours.hidden_size
        self.gates_size = ours.gates_size
        extra = constant.in_features if constant else 0
        self.rnn = nn.GRU(ours.weight_ih.shape[1] + extra, self.hidden_size)
        inputs = torch.cat([ours.weight_ih, constant.weight], dim=1) if constant else ours.weight_ih
        values = {"weight_ih": inputs, "weight_hh": ours.weight_hh, "bias_ih": ours.bias_ih, "bias_hh": ours.bias_hh}
        for name, value in values.items():
            getattr(self.rnn, f"{name}_l0").data.copy_(value)

    def forward(self, inputs: Tensor, sizes: list[int], h0: Tensor, constant: Tensor | None = None) -> Tensor:
        if constant is not None:
            rows = torch.cat([torch.arange(size) for size in sizes])
            inputs = torch.cat([inputs, constant[rows]], dim=1)
        return self.rnn(PackedSequence(inputs, torch.tensor(sizes)), h0[None])[0].data


def plain(ours: HRED) -> HRED:
    """The same weights on plain modules."""
    model = HRED(ours.config)
    model.load_state_dict(ours.state_dict())
    for layers in (model.encoder.forwards, model.encoder.backwards, model.tracker.rnn):
        layers[0] = PlainGRU(layers[0])
    model.decoder.rnn[0] = PlainGRU(model.decoder.rnn[0], model.decoder.state_to_gates)
    model.decoder.state_to_gates = nn.Identity()  # the state itself is fed
    return model


def plain_loss(model: HRED, batch: Batch) -> Tensor:
    _, states = model.read(batch)
    readouts = model.write(batch.inputs, batch.response_sizes, states[batch.states])
    return F.cross_entropy(model.logits(readouts), batch.targets)


def our_loss(model: HRED, batch: Batch) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return Objective()(model, batch).total


def stepper(model: HRED, loss: Callable[[HRED, Batch], Tensor]) -> Callable[[Batch], float]:
    """A training step that returns its target tokens a second."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step(batch: Batch) -> float:
        started = time.perf_counter()
        loss(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return len(batch.targets) / (time.perf_counter() - started)

    return step


@torch.no_grad()
def held_out(model: HRED, loss: Callable[[HRED, Batch], Tensor], store: TokenStore) -> float:
    return statistics.fmean(
        float(loss(model, batch)) for batch in islice(batches(store, _DIALOGUES, _TURNS), _HELD_OUT)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", nargs="?", type=Path, default=Path("var/prepared"))
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()

    vocabulary = Vocabulary.load(options.prepared / "vocabulary.json")
    train, validation = (TokenStore.open(options.prepared / "dialogues" / split) for split in ("train", "validation"))
    torch.manual_seed(0)
    ours = HRED(ModelConfig(len(vocabulary), encoder_size=512))
    theirs = plain(ours)
    runs = {"ours, bfloat16": (ours, our_loss), "packed nn.GRU, float32": (theirs, plain_loss)}
    steps = {name: stepper(model, loss) for name, (model, loss) in runs.items()}
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    order = np.random.default_rng(0)
    for batch in islice(batches(train, _DIALOGUES, _TURNS, order), options.steps):
        for name, step in steps.items():
            speeds[name].append(step(batch))
    ratios = [mine / other for mine, other in zip(*speeds.values(), strict=True)][1:]
    for name, (model, loss) in runs.items():
        speed, entropy = statistics.median(speeds[name][1:]), held_out(model, loss, validation)
        print(f"{name:24} {speed:8,.0f} target tokens/s   held-out loss after {options.steps} steps {entropy:.4f}")
    print(f"ratio, step by step: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
