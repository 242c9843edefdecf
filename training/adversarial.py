"""Adversarial training of a model that can already talk (Li et al., EMNLP 2017, algorithm 1).

A discriminator learns to tell the model's replies from people's; the model learns by policy gradient to be taken for a
person, and by teacher forcing on what people said, without which it forgets how to talk (section 3.2). Every word has a
reward of its own (REGS, the cheap variant): the discriminator learns from beginnings of responses as well, one random
beginning of each, so that it can judge a reply word by word as it is written.
Shapes: N rows, R responses, Q packed tokens, T tokens, E embedding, S state, V vocabulary.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional as F

from chatbot.checkpoint import load_checkpoint, save_checkpoint
from chatbot.model import HRED
from chatbot.processor import Choice, autocast, chosen
from data.batches import Batch, batches, make_batch, windows
from data.progress import LoggedProgress
from data.store import TokenStore
from data.vocabulary import Vocabulary
from training.config import AdversarialConfig, StageConfig
from training.discriminator import HUMAN, MACHINE, Discriminator, ends, random_beginnings
from training.loop import descend, perplexities
from training.measures import distinct
from training.objective import Objective
from training.policy import Replies, make_critic, policy_loss, sample, unpacked
from training.resuming import add_row, go_through, load_latest, save_latest


@torch.no_grad()
def rewards_of(discriminator: Discriminator, batch: Batch, replies: Replies) -> Tensor:
    """The probability, after each word of sampled replies, that a person speaks: (Q,)."""
    states = discriminator.read(batch)[replies.order]
    heard = discriminator.listen(replies.targets, replies.sizes)
    rows = torch.cat([torch.arange(size) for size in replies.sizes])
    return discriminator.judge(states[rows], heard).softmax(dim=1)[:, HUMAN]


def discriminator_loss(discriminator: Discriminator, batch: Batch, replies: Replies, max_tokens: int) -> Tensor:
    """Cross-entropy of telling human responses from sampled ones, by one random beginning of each (section 3.2).

    More beginnings of one response would be almost the same example many times, and be learned by heart.
    """
    states = discriminator.read(batch)
    sizes = batch.response_sizes[:max_tokens]
    human = discriminator.listen(batch.targets[: sum(sizes)], sizes)
    machine = discriminator.listen(replies.targets, replies.sizes)
    of_human = discriminator.judge(states, human[random_beginnings(sizes)])
    of_machine = discriminator.judge(states[replies.order], machine[random_beginnings(replies.sizes)])
    return _verdict_loss(of_human, HUMAN) + _verdict_loss(of_machine, MACHINE)


def _verdict_loss(logits: Tensor, label: int) -> Tensor:
    return F.cross_entropy(logits, torch.full((len(logits),), label)) / 2


@dataclass(slots=True)
class Position:
    """How far an adversarial stage has come."""

    warmup: int = 0  # steps of the discriminator alone
    round: int = 0
    seconds: float = 0.0
    validated_at: int = -1
    best_perplexity: float = math.inf
    is_stopped: bool = False  # because perplexity left its bounds


class AdversarialStage:
    """Trains `model` against a discriminator in `folder`, going on from what that holds (see training.resuming).

    `kept/` there is the model of the last validation whose perplexity was still within bounds. Raises ValueError where
    the folder holds a run of another network or the corpus has no response to learn from.
    """

    def __init__(
        self,
        config: AdversarialConfig,
        model: HRED,
        vocabulary: Vocabulary,
        train: TokenStore,
        validation: TokenStore,
        folder: Path,
        precision: Choice,
        seed: int,
    ) -> None:
        self.config, self.model, self.vocabulary = config, model.requires_grad_(True), vocabulary
        self.train, self.validation = train, validation
        self.folder, self.precision, self.seed = folder, chosen(precision), seed
        cuts = windows(train, config.max_turns)
        self._windows = cuts[cuts[:, 2] - cuts[:, 1] > 1]
        if not (len(self._windows) and len(validation)):
            raise ValueError("The stage 'adversarial' has no dialogues to learn from or to be judged by; prepare more.")
        torch.manual_seed(seed)
        self.discriminator = Discriminator(model.config.vocabulary_size, config.discriminator_size)
        self.critic = make_critic(model.config.embedding_size)
        self.objective = Objective(context_dropout=config.context_dropout, relevance_weight=config.relevance_weight)
        self._foretold = StageConfig(
            target_tokens=1,
            batch_size=config.batch_size,
            max_turns=config.max_turns,
            validation_dialogues=config.validation_dialogues,
        )
        groups: list[dict[str, Any]] = [
            {"params": model.parameters()},
            {"params": self.critic.parameters(), "lr": config.discriminator_learning_rate},
        ]
        self.optimiser = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.discriminator_learning_rate, fused=True
        )
        self.position = Position()
        folder.mkdir(parents=True, exist_ok=True)
        if saved := load_latest(folder, Position, self._parts):
            self.position, _ = saved

    def run(self, console: Console) -> HRED:
        """Trains to the end of the stage and returns the model it keeps; Ctrl-C as in `training.loop.Stage.run`."""
        console.print(f"adversarial: multiplies in {self.precision}.")
        with _progress(console, self.config.rounds) as show:
            go_through(self._steps(console, show), self._save)
        return load_checkpoint(self.folder / "kept").model.requires_grad_(True)

    def _steps(self, console: Console, show: Callable[[int], None]) -> Iterator[bool]:
        """Validations and rounds to the end of the stage, and of each whether it was a validation."""
        while not self._is_finished():
            if due := self._is_validation_due():
                self._validate(console)
            else:
                self._advance()
            show(self.position.round)
            yield due

    def _is_validation_due(self) -> bool:
        position, config = self.position, self.config
        if position.warmup < config.discriminator_warmup or position.validated_at == position.round:
            return False
        return position.round % config.validate_every == 0 or position.round == config.rounds

    def _is_finished(self) -> bool:
        position = self.position
        return position.is_stopped or position.validated_at == self.config.rounds

    def _advance(self) -> None:
        """A step of the discriminator's warm-up, or a round (algorithm 1)."""
        started, position = time.monotonic(), self.position
        torch.manual_seed(self.seed + position.warmup + position.round)  # the same draws when a stage resumes
        if position.warmup < self.config.discriminator_warmup:
            self._teach_discriminator()
            position.warmup += 1
        else:
            for _ in range(self.config.discriminator_steps):
                self._teach_discriminator()
            for _ in range(self.config.generator_steps):
                self._teach_generator()
            position.round += 1
        position.seconds += time.monotonic() - started

    def _teach_discriminator(self) -> None:
        batch = self._random_batch()
        with autocast(self.precision):
            with torch.no_grad():
                states = self._states(batch)
            replies = sample(self.model, states, self.config.max_tokens, self.config.temperature)
            loss = discriminator_loss(self.discriminator.train(), batch, replies, self.config.max_tokens)
        self._descend(loss, self.discriminator_optimiser, self.discriminator)

    def _teach_generator(self) -> None:
        batch = self._random_batch()
        with autocast(self.precision):
            states = self._states(batch)
            replies = sample(self.model, states, self.config.max_tokens, self.config.temperature)
            rewards = rewards_of(self.discriminator.eval(), batch, replies)
            policy, surprise = policy_loss(self.model, self.critic, states, replies, rewards, self.config.temperature)
            forced = self.objective(self.model, batch).total
            loss = policy + surprise + self.config.teacher_forcing_weight * forced
        self._descend(loss, self.optimiser, self.model)

    def _descend(self, loss: Tensor, optimiser: torch.optim.Optimizer, clipped: nn.Module) -> None:
        loss.backward()
        descend(optimiser, clipped, self.config.clip_norm, self.folder)

    def _random_batch(self) -> Batch:
        places = torch.randint(len(self._windows), (self.config.batch_size,))
        return make_batch([self.train[dialogue][first:last] for dialogue, first, last in self._windows[places]])

    def _states(self, batch: Batch) -> Tensor:
        """The states before each response: (R, S)."""
        _, states = self.model.read(batch)
        return states[batch.states]

    def _validate(self, console: Console) -> None:
        position, config = self.position, self.config
        with autocast(self.precision):
            figures = perplexities(self.model, self.validation, self._foretold) | self._judge_samples()
        position.validated_at = position.round
        position.best_perplexity = min(position.best_perplexity, figures["perplexity"])
        position.is_stopped = figures["perplexity"] > config.worst_perplexity * position.best_perplexity
        add_row(self.folder, asdict(position) | figures, "round")
        if not position.is_stopped:
            metrics = {
                "stage": "adversarial", "rounds": position.round, "precision": self.precision, "validation": figures
            }  # fmt: skip
            save_checkpoint(self.folder / "kept", self.model, self.vocabulary, metrics)
        console.print(
            f"adversarial: round {position.round}, perplexity {figures['perplexity']:.1f}; "
            f"taken for human: people {figures['belief_human']:.2f}, samples {figures['belief_sample']:.2f}, greedy "
            f"replies {figures['belief_greedy']:.2f}; distinct-2 of samples {figures['distinct_2']:.3f}, of greedy "
            f"replies {figures['greedy_distinct_2']:.3f}",
            soft_wrap=True,
        )
        if position.is_stopped:
            console.print(
                f"adversarial: stopped, for perplexity is more than {config.worst_perplexity:g} times "
                f"{position.best_perplexity:.1f}; the model of the validation before is kept",
                soft_wrap=True,
            )

    @torch.no_grad()
    def _judge_samples(self) -> dict[str, float]:
        """What the model says to validation contexts, with the same random numbers each time, and what is believed of
        it: a sample and a greedy reply each."""
        torch.manual_seed(self.seed)
        config, discriminator = self.config, self.discriminator.eval()
        spoken: dict[str, list[list[int]]] = {"sample": [], "greedy": []}
        beliefs: dict[str, list[Tensor]] = {"sample": [], "greedy": [], "human": []}
        order = np.random.default_rng(0)
        for place, batch in enumerate(batches(self.validation, config.batch_size, config.max_turns, order)):
            if place * config.batch_size >= config.validation_dialogues:
                break
            states, sizes = self._states(batch), batch.response_sizes[: config.max_tokens]
            replies = {
                "sample": sample(self.model, states, config.max_tokens, config.temperature),
                "greedy": sample(self.model, states, config.max_tokens, temperature=0),
                "human": Replies(batch.inputs, batch.targets[: sum(sizes)], sizes, torch.arange(sizes[0])),
            }
            for who, said in replies.items():
                beliefs[who].append(rewards_of(discriminator, batch, said)[ends(said.sizes)])
            for who, utterances in spoken.items():
                utterances += unpacked(replies[who])
        belief = {who: torch.cat(parts) for who, parts in beliefs.items()}
        machine, human = belief["sample"], belief["human"]
        return {
            "fooled": float((machine > 0.5).float().mean()),
            "discriminator_accuracy": float((machine <= 0.5).float().mean() + (human > 0.5).float().mean()) / 2,
            **{f"belief_{who}": float(parts.mean()) for who, parts in belief.items()},
            "distinct_2": distinct(spoken["sample"], 2),
            "greedy_distinct_2": distinct(spoken["greedy"], 2),
            "mean_length": sum(map(len, spoken["sample"])) / max(len(spoken["sample"]), 1),
        }

    @property
    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "model": self.model,
            "discriminator": self.discriminator,
            "critic": self.critic,
            "optimiser": self.optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
        }

    def _save(self) -> None:
        save_latest(self.folder, self.position, self._parts, {})


@contextmanager
def _progress(console: Console, rounds: int) -> Iterator[Callable[[int], None]]:
    """A bar with the time left; what it yields moves it to a round."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with LoggedProgress(*columns, console=console) as progress:
        task = progress.add_task("adversarial", total=rounds)
        yield lambda round_: progress.update(task, completed=round_)
