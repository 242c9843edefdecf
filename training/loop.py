"""One stage of training: batches in, a better model out; interrupted at any moment, it goes on where it was.

A stage's folder holds what training.resuming describes, `curves.png`, and `kept/`, the checkpoint of the best (or the
last) validation. Knows no corpus format.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from chatbot.checkpoint import load_checkpoint, save_checkpoint
from chatbot.model import HRED
from chatbot.processor import Choice, autocast, chosen
from data.batches import Batch, batches, streams
from data.progress import LoggedProgress
from data.store import TokenStore
from data.vocabulary import Vocabulary
from training.config import StageConfig
from training.curves import RECALL, draw_curves
from training.objective import Losses, Objective, cross_entropy, own_replies
from training.resuming import add_row, go_through, load_latest, save_latest
from training.substitution import Substitution

OVER_OWN = "response_above_own_reply"  # in `metrics.jsonl`, where the stage learns from replies of the model's own

_JUDGED = 100  # responses of a batch that are compared with the model's own reply
_MOST_NATS = 700.0  # of which exp is a number


@dataclass(slots=True)
class Position:
    """How far a stage has come."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # of this epoch
    target_tokens: int = 0
    seconds: float = 0.0
    validated_at: int = 0
    best_perplexity: float = math.inf
    validations_without_better: int = 0
    batch_size: int | None = None  # this and the next: how the epoch is cut, without which `batch` says nothing
    max_turns: int | None = None


class Stage:
    """Trains `model` on `train`, judged by `validation`, in `folder`; resumes from what the folder holds.

    With a `substitution` some words of `train` are others at each epoch.

    Raises ValueError where the folder holds a run of another network or the corpus has no response to learn from.
    """

    def __init__(
        self,
        name: str,
        config: StageConfig,
        model: HRED,
        vocabulary: Vocabulary,
        train: TokenStore,
        validation: TokenStore,
        folder: Path,
        precision: Choice,
        seed: int,
        substitution: Substitution | None = None,
    ) -> None:
        self.name, self.config, self.model, self.vocabulary = name, config, model, vocabulary
        self.train, self.validation = train, validation
        self.folder, self.precision, self.seed = folder, chosen(precision), seed
        self.substitution = substitution
        self.objective = Objective(
            config.word_dropout,
            config.context_dropout,
            config.relevance_weight,
            config.own_replies,
            config.reinjection,
            config.reinjection_schedule,
        )
        self.optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
        self.position = Position(batch_size=config.batch_size, max_turns=config.max_turns)
        self._training_loss = math.nan
        self._last_states: Tensor | None = None  # (B, S) that the dialogues of the batch before ended in
        folder.mkdir(parents=True, exist_ok=True)
        if not (train.responses and validation.responses):
            raise ValueError(f"The stage '{name}' has no dialogues to learn from or to be judged by; prepare more.")
        if saved := load_latest(folder, Position, self._parts):
            position, tensors = saved
            self._check_cut(position)
            self.position = position
            self._last_states = tensors.get("last_states")

    def _check_cut(self, saved: Position) -> None:
        for key in ("batch_size", "max_turns"):
            before, now = getattr(saved, key), getattr(self.config, key)
            if before not in (None, now):  # a run begun by an older program does not say
                raise ValueError(
                    f"{self.folder} was begun with {key} = {before}, not {now}; set it back, or remove the folder to "
                    "begin the stage again."
                )

    def run(self, console: Console, watch: Callable[[Position], None] = lambda position: None) -> HRED:
        """Trains to the end of the stage and returns the model it keeps; `watch` is told of every step.

        Ctrl-C ends it by KeyboardInterrupt once the step or the validation under way is done and saved; a second
        Ctrl-C does so at once, and the stage then goes on from its last save.
        """
        console.print(f"{self.name}: multiplies in {self.precision}.")
        with _progress(console, self.name, self.config.target_tokens) as show:
            go_through(self._steps(console, show, watch), self._save)
        return load_checkpoint(self.folder / "kept").model.requires_grad_(True)

    def _steps(self, console: Console, *watchers: Callable[[Position], None]) -> Iterator[bool]:
        """Learns batch by batch to the end of the stage, and says of each whether a validation followed it."""
        for batch in self._batches():
            if len(batch.targets):
                self._step(batch)
            self.position.batch += 1
            for watch in watchers:
                watch(self.position)
            if validated := self._is_validation_due():
                self._validate(console)
            yield validated

    def _batches(self) -> Iterator[Batch]:
        """Batches from where the stage stands to where it ends; each epoch's order follows from the seed alone."""
        while not self._is_finished():
            order = np.random.default_rng((self.seed, self.position.epoch))
            train = self.train
            if self.substitution is not None:
                train = self.substitution.view(train, self.seed, self.position.epoch)
            for batch in _cut(train, self.config, order, skip=self.position.batch):
                yield batch
                if self._is_finished():
                    return
            self.position.epoch, self.position.batch = self.position.epoch + 1, 0

    def _step(self, batch: Batch) -> None:
        started = time.monotonic()
        torch.manual_seed(self.seed + self.position.step)  # dropout is the same when a stage resumes
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        with autocast(self.precision):
            losses = self._losses(batch)
        losses.total.backward()
        if self.position.target_tokens < self.config.frozen_words_tokens:
            self.model.embedding.weight.grad = None
        descend(self.optimiser, self.model, self.config.clip_norm, self.folder)
        self.position.step += 1
        self.position.target_tokens += len(batch.targets)
        self.position.seconds += time.monotonic() - started
        self._training_loss = float(losses.entropy)
        self._last_states = losses.last_states.float()

    def _losses(self, batch: Batch) -> Losses:
        start = carried(self.model, batch, self._last_states)
        return self.objective(self.model, batch, start, self._progress)

    @property
    def _progress(self) -> float:
        return min(1.0, self.position.target_tokens / self.config.target_tokens)

    def _learning_rate(self) -> float:
        config, position = self.config, self.position
        if position.step < config.warmup_steps:
            return config.learning_rate * (position.step + 1) / config.warmup_steps
        share = (1 + math.cos(math.pi * self._progress)) / 2
        return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * share

    def _is_validation_due(self) -> bool:
        since = self.position.target_tokens - self.position.validated_at
        return since >= self.config.validate_every or self._is_over()

    def _is_over(self) -> bool:
        spent = self.position.target_tokens >= self.config.target_tokens
        return spent or self.position.validations_without_better >= self.config.patience

    def _is_finished(self) -> bool:
        """Over, and validated since its last step."""
        return self._is_over() and self.position.validated_at == self.position.target_tokens

    def _validate(self, console: Console) -> None:
        position = self.position
        with autocast(self.precision):
            figures = perplexities(self.model, self.validation, self.config)
        _demand_bounds(figures["perplexity"], self.folder)
        self._judge(figures)
        self._record(figures)
        speed = position.target_tokens / max(position.seconds, 1e-9)
        console.print(
            f"{self.name}: {position.target_tokens:,} target tokens, {speed:,.0f}/s, "
            f"perplexity {figures['perplexity']:.1f} (without the state {figures['perplexity_without_state']:.1f}, "
            f"on the last batch learned {_exp(self._training_loss):.1f})"
            + (f", recall@1 of 10 {figures[RECALL]:.2f}" if RECALL in figures else "")
            + (f", above its own replies {figures[OVER_OWN]:.2f}" if OVER_OWN in figures else ""),
            soft_wrap=True,
        )

    def _judge(self, figures: dict[str, float]) -> None:
        """Keeps the model if it is worth it, and counts how long nothing has got better."""
        position = self.position
        position.validated_at = position.target_tokens
        better = figures["perplexity"] < position.best_perplexity
        position.validations_without_better = 0 if better else position.validations_without_better + 1
        position.best_perplexity = min(figures["perplexity"], position.best_perplexity)
        if better or self.config.keep == "last":
            metrics = {
                "stage": self.name, "target_tokens": position.target_tokens, "precision": self.precision,
                "validation": figures,
            }  # fmt: skip
            save_checkpoint(self.folder / "kept", self.model, self.vocabulary, metrics)

    def _record(self, figures: dict[str, float]) -> None:
        learned = {"training_loss": self._training_loss, "learning_rate": self._learning_rate()}
        add_row(self.folder, asdict(self.position) | learned | figures, "step")
        draw_curves(self.folder / "metrics.jsonl", self.folder / "curves.png", self.name)

    @property
    def _parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        return {"model": self.model, "optimiser": self.optimiser}

    def _save(self) -> None:
        carried_on = {} if self._last_states is None else {"last_states": self._last_states}
        save_latest(self.folder, self.position, self._parts, carried_on)


def descend(optimiser: torch.optim.Optimizer, clipped: nn.Module, norm: float, folder: Path) -> None:
    """A step along the gradients there are, those of `clipped` no longer than `norm`; then there are none.

    Raises ValueError with a sentence on the stage in `folder`, and changes no weight, where they are no numbers.
    """
    _demand_bounds(float(nn.utils.clip_grad_norm_(clipped.parameters(), norm)), folder)
    optimiser.step()
    optimiser.zero_grad()


def _demand_bounds(value: float, folder: Path) -> None:
    if not math.isfinite(value):
        raise ValueError(
            f"Learning went astray in {folder}: its loss has no bounds any more; lower the learning rate, and remove "
            "the folder to begin the stage again."
        )


def carried(model: HRED, batch: Batch, last_states: Tensor | None) -> Tensor | None:
    """The states (B, S) that a batch's dialogues start from, given those that the batch before ended in.

    None where nothing goes on from one batch to the next.
    """
    if batch.goes_on is None or last_states is None:
        return None
    return torch.cat([model.initial_state(1), last_states])[batch.goes_on + 1]


def _cut(store: TokenStore, config: StageConfig, order: np.random.Generator, skip: int = 0) -> Iterator[Batch]:
    cut = streams if config.carry_state else batches
    return cut(store, config.batch_size, config.max_turns, order, skip, config.openings)


@torch.no_grad()
def perplexities(model: HRED, store: TokenStore, config: StageConfig) -> dict[str, float]:
    """How well a model foretells responses: perplexity a target token, with the tracked state and with none at all;
    how often its relevance, where it has one, picks the response among itself and nine others of its batch; and, where
    it learns from replies of its own, how often it picks the response of the two."""
    total, blind, targets = 0.0, 0.0, 0
    hits, trials = Counter[str](), Counter[str]()
    ends: Tensor | None = None
    for seen, batch in enumerate(_cut(store, config, np.random.default_rng(0))):
        if seen * config.batch_size >= config.validation_dialogues:
            break
        vectors, states = model.read(batch, carried(model, batch, ends))
        before, ends = states[batch.states], states[batch.last_states].float()
        total += _entropy(model, batch, before)
        blind += _entropy(model, batch, torch.zeros_like(before))
        targets += len(batch.targets)
        picks = {RECALL: _recall} if model.has_relevance else {}
        for name, pick in (picks | ({OVER_OWN: _over_own} if config.own_replies else {})).items():
            found, tried = pick(model, before, vectors[batch.responses])
            hits[name] += found
            trials[name] += tried
    figures = {
        "perplexity": _exp(total / max(targets, 1)),
        "perplexity_without_state": _exp(blind / max(targets, 1)),
    }
    return figures | {name: hits[name] / tried for name, tried in trials.items() if tried}


def _exp(nats: float) -> float:
    """Infinite where it is too large for a number, or of none."""
    return math.exp(nats) if nats < _MOST_NATS else math.inf


def _entropy(model: HRED, batch: Batch, before: Tensor) -> float:
    """Nats of all target tokens of a batch, given the states (R, S) before its responses."""
    readouts = model.write(batch.inputs, batch.response_sizes, before)
    return float(cross_entropy(readouts, model.embedding.weight, model.output_bias, batch.targets))


def _recall(model: HRED, states: Tensor, vectors: Tensor) -> tuple[int, int]:
    """How many of R states score their own response above nine others of the batch, and R."""
    count = len(states)
    if count < 10:
        return 0, 0
    generator = torch.Generator().manual_seed(0)
    others = (torch.arange(count)[:, None] + torch.randint(1, count, (count, 9), generator=generator)) % count
    scores = (model.relevance_query(states) @ vectors.T).float()
    own = scores.diagonal()[:, None]
    return int((own > scores.gather(1, others)).all(dim=1).sum()), count


def _over_own(model: HRED, states: Tensor, vectors: Tensor) -> tuple[int, int]:
    """How many of some of the states score their response above a reply of the model's own, and of how many."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        chosen = torch.randperm(len(states))[:_JUDGED]
        own = own_replies(model, states[chosen])
    states, vectors = states[chosen], vectors[chosen]
    return int((model.relevance(states, vectors) > model.relevance(states, own)).sum()), len(chosen)


@contextmanager
def _progress(console: Console, name: str, target_tokens: int) -> Iterator[Callable[[Position], None]]:
    """A bar with speed and time left; what it yields moves it to a position."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]:,.0f} tokens/s on {task.fields[threads]}"),
        TextColumn("{task.fields[perplexity]}"),
        TimeRemainingColumn(),
    )
    with LoggedProgress(*columns, console=console) as progress:
        task = progress.add_task(name, total=target_tokens, speed=0.0, threads=_threads(), perplexity="")

        def show(position: Position) -> None:
            best = f"perplexity {position.best_perplexity:.1f}" if math.isfinite(position.best_perplexity) else ""
            speed = position.target_tokens / max(position.seconds, 1e-9)
            progress.update(task, completed=position.target_tokens, speed=speed, threads=_threads(), perplexity=best)

        yield show


def _threads() -> str:
    count = torch.get_num_threads()
    return f"{count} thread{'s' if count > 1 else ''}"
