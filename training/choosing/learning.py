"""How a chooser learns, in three stages.

likeness      the vectors of a dialogue and of its response find each other in a batch (Henderson et al., 2017)
comparison    a response is told from others, from its neighbours in the dialogue, and from what readers called wrong
judgements    readers' judgements, each candidate by itself and the best of a context against its others

Each step's batch follows from the seed and the number of the step alone, so a run that was stopped goes on as if it had
not been.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from chatbot.choosing.network import Chooser, ask
from chatbot.reply import DEFAULT
from data.progress import LoggedProgress
from training.choosing.examples import Example, Examples
from training.choosing.judgements import Judged
from training.choosing.recipe import ChooserRecipe
from training.resuming import go_through, load_latest, save_latest

_IN_BATCH = 96  # dialogues of a likeness step
_COMPARED, _OWN_WRONG, _OTHERS = 16, 3, 8  # dialogues of a comparison step, wrong responses of each, those of others
_AT_ONCE = 6  # contexts of a judgement step
_LISTWISE, _REHEARSED = 0.1, 0.1  # weights beside each candidate's own loss
_WARM_UP = 200  # steps
_CLIP = 1.0


@dataclass(slots=True)
class Position:
    """How far a run has come: steps of all stages together."""

    step: int = 0


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    steps: int
    rate: float
    loss: Callable[[int], Tensor]


class Learning:
    """Teaches a chooser, in `folder`; goes on from what the folder holds."""

    def __init__(
        self, chooser: Chooser, examples: Examples, judged: Sequence[Judged], recipe: ChooserRecipe, folder: Path
    ) -> None:
        self.chooser, self.folder, self._seed = chooser, folder, recipe.seed
        self._examples, self._judged = examples, [one for one in judged if not one.is_held_out]
        self._wrong = [
            ids for one in self._judged for ids, good in zip(one.candidates, one.sensible, strict=True) if not good
        ]
        self._a_pass = math.ceil(len(self._judged) / _AT_ONCE)
        self._optimiser = torch.optim.Adam(chooser.parameters(), lr=recipe.likeness_rate)
        stages = [
            _Stage("likeness", recipe.likeness_steps, recipe.likeness_rate, self._likeness),
            _Stage("comparison", recipe.comparison_steps, recipe.comparison_rate, self._comparison),
            _Stage("judgements", recipe.passes * self._a_pass, recipe.judgement_rate, self._judgements),
        ]
        self._stages = stages[-1:] if recipe.continues else stages
        folder.mkdir(parents=True, exist_ok=True)
        saved = load_latest(folder, Position, self._parts)
        self.position = saved[0] if saved else Position()

    def run(self, console: Console) -> None:
        """Ctrl-C ends it by KeyboardInterrupt once the step under way is done and saved."""
        total = sum(stage.steps for stage in self._stages)
        self.chooser.train()
        with LoggedProgress(console=console) as progress:
            task = progress.add_task("chooser", total=total, completed=self.position.step)
            go_through(self._steps(lambda: progress.update(task, completed=self.position.step)), self._save)
        self.chooser.eval()

    def _steps(self, show: Callable[[], None]) -> Iterator[bool]:
        first = 0
        for stage in self._stages:
            while first <= self.position.step < first + stage.steps:
                self._step(stage, self.position.step - first)
                self.position.step += 1
                show()
                yield self.position.step == first + stage.steps
            first += stage.steps

    def _step(self, stage: _Stage, step: int) -> None:
        torch.manual_seed(self._seed + self.position.step)  # dropout is the same when a run resumes
        warm = min(1.0, (step + 1) / _WARM_UP)
        for group in self._optimiser.param_groups:
            group["lr"] = stage.rate * warm * (0.05 + 0.95 * (1 + math.cos(math.pi * step / stage.steps)) / 2)
        loss = stage.loss(step)
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.chooser.parameters(), _CLIP)
        self._optimiser.step()

    def _draw(self, stage: int, step: int, count: int) -> tuple[list[Example], np.random.Generator]:
        random = np.random.default_rng((self._seed, stage, step))
        return self._examples.draw(random, count), random

    def _likeness(self, step: int) -> Tensor:
        examples, _ = self._draw(0, step, _IN_BATCH)
        question = ask([one.context for one in examples], [[one.response] for one in examples])
        scores = self.chooser.likeness_of_all(question)
        said = [tuple(one.response) for one in examples]
        is_same = torch.tensor([[one == other for other in said] for one in said])
        scores = scores.masked_fill(is_same & ~torch.eye(len(said), dtype=torch.bool), -math.inf)
        return F.cross_entropy(scores, torch.arange(len(said)))

    def _comparison(self, step: int) -> Tensor:
        return self._compare(*self._draw(1, step, _COMPARED))

    def _compare(self, examples: Sequence[Example], random: np.random.Generator) -> Tensor:
        """Cross-entropy of the true response among wrong ones of its own and some of the others' candidates."""
        groups = [[one.response, *self._wrong_responses(one, random)] for one in examples]
        size = 1 + _OWN_WRONG
        owners, places = [], []
        for row in range(len(groups)):
            others = [place for place in range(size * len(groups)) if place // size != row]
            places += [*range(size * row, size * (row + 1)), *random.choice(others, _OTHERS, replace=False).tolist()]
            owners += [row] * (size + _OTHERS)
        question = ask([one.context for one in examples], groups)
        logits = self.chooser(question, (torch.tensor(owners), torch.tensor(places)))[:, 0]
        return F.cross_entropy(logits.view(len(groups), -1), torch.zeros(len(groups), dtype=torch.long))

    def _wrong_responses(self, example: Example, random: np.random.Generator) -> list[Sequence[int]]:
        near = [example.near[place] for place in random.permutation(len(example.near))[: _OWN_WRONG - 1]]
        missing = _OWN_WRONG - len(near)
        if self._wrong:
            return [*near, *(self._wrong[place] for place in random.integers(len(self._wrong), size=missing))]
        return [*near, *(one.response for one in self._examples.draw(random, missing))]

    def _judgements(self, step: int) -> Tensor:
        order = np.random.default_rng((self._seed, 2, step // self._a_pass)).permutation(len(self._judged))
        start = step % self._a_pass * _AT_ONCE
        part = [self._judged[place] for place in order[start : start + _AT_ONCE]]
        logits = self.chooser(ask([one.context for one in part], [one.candidates for one in part]))
        marks = [(good, fits) for one in part for good, fits in zip(one.sensible, one.specific, strict=True)]
        wanted = torch.tensor(marks, dtype=torch.float)
        loss = F.binary_cross_entropy_with_logits(logits, wanted, weight=torch.tensor([1.0, DEFAULT.specific_weight]))
        sizes = [len(one.candidates) for one in part]
        loss = loss + _LISTWISE * _listwise(logits, wanted, sizes)
        return loss + _REHEARSED * self._compare(*self._draw(3, step, _AT_ONCE // 2))

    def _save(self) -> None:
        save_latest(self.folder, self.position, self._parts, {})

    @property
    def _parts(self) -> dict[str, Chooser | torch.optim.Optimizer]:
        return {"chooser": self.chooser, "optimiser": self._optimiser}


def _listwise(logits: Tensor, wanted: Tensor, sizes: Sequence[int]) -> Tensor:
    """How far the candidates of each context are from the order that its readers gave them (Cao et al., 2007)."""
    weights = torch.tensor([1.0, DEFAULT.specific_weight])
    losses = []
    for given, right in zip(
        (logits * weights).sum(1).split(list(sizes)), (wanted * weights).sum(1).split(list(sizes)), strict=True
    ):
        if right.sum():
            losses.append(-(right / right.sum() * given.log_softmax(dim=0)).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0
