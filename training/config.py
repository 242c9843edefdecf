"""A training recipe: TOML -> frozen dataclasses. A key nobody knows, a value nobody can use, or two keys that do not go
together are one clear error."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from chatbot.model import Kind
from chatbot.processor import Choice
from chatbot.recurrent import CellName
from training.objective import Schedule

Whole = Annotated[int, Field(gt=0, strict=True)]
Size = Annotated[int, Field(gt=0, le=8192, strict=True)]  # a larger network would not fit into the memory
Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
_known_keys_only = ConfigDict(extra="forbid")


class ConfigError(ValueError):
    """A recipe that cannot be followed; the message names the file, the key and what is wrong with it."""


@dataclass(frozen=True, slots=True, config=_known_keys_only)
class CorpusConfig:
    """What is learned from. `prepared` is made from `sources` where it does not exist yet."""

    prepared: Path
    sources: tuple[str, ...] = ("chitchat",)  # `chitchat`, files, folders; what is not there is passed over
    vocabulary_size: Annotated[int, Field(ge=5, strict=True)] = 12_000
    clean: bool = True  # false takes pairs of any language or length as they are (see `chatbot prepare --no-clean`)
    half: Literal["both", "first", "second"] = "both"  # of the training text: every other dialogue of it


@dataclass(frozen=True, slots=True, config=_known_keys_only)
class NetworkConfig:
    """Which network, and its sizes (see chatbot.model.ModelConfig)."""

    kind: Kind = "hred"
    cell: CellName = "gru"
    layers: Annotated[int, Field(gt=0, le=16, strict=True)] = 1
    bidirectional: bool = True
    embedding_size: Size = 300
    encoder_size: Size = 384
    state_size: Size = 512
    decoder_size: Size = 512


@dataclass(frozen=True, slots=True, config=_known_keys_only)
class Word2VecConfig:
    """Where words start from: skip-gram on the prepared corpora, or the vectors of `file` (see data.word_vectors)."""

    file: str = ""
    epochs: Whole = 5


@dataclass(frozen=True, slots=True, config=_known_keys_only)
class StageConfig:
    """One stage of training; its length is counted in target tokens, the words of responses and their ends."""

    target_tokens: Whole
    corpus: Literal["pairs", "dialogues"] | None = None  # left out: pairs for `pretrain`, dialogues for `train`
    batch_size: Whole = 64  # dialogues, or windows of long ones
    max_turns: Annotated[int, Field(ge=2, strict=True)] = 12  # the longest window of a dialogue
    learning_rate: Positive = 1e-3
    final_learning_rate: Positive = 5e-5  # reached along a cosine
    warmup_steps: Annotated[int, Field(ge=0, strict=True)] = 100
    clip_norm: Positive = 1.0
    substitute: bool = False  # other names, towns, jobs, ... in `written`, anew each epoch: see training.substitution
    openings: bool = False  # a dialogue's first utterance is learned as well, from a zero state (paper, section 3)
    carry_state: bool = False  # over a long dialogue's windows: truncated back-propagation (Williams & Peng, 1990)
    word_dropout: Share = 0.0  # this and the next five: see training.objective.Objective
    context_dropout: Share = 0.0
    reinjection: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.0
    reinjection_schedule: Schedule = "linear"
    relevance_weight: Annotated[float, Field(ge=0, strict=True)] = 0.0
    own_replies: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.0
    frozen_words_tokens: Annotated[int, Field(ge=0, strict=True)] = 0  # for which word2vec's words stay (Serban et al.)
    validate_every: Whole = 500_000  # target tokens
    validation_dialogues: Whole = 2_000
    keep: Literal["best", "last"] = "best"  # the model of the best validation, or of the last
    patience: Whole = 4  # validations without a better perplexity before the stage ends


@dataclass(frozen=True, slots=True, config=_known_keys_only)
class AdversarialConfig:
    """The adversarial stage; its length is counted in rounds, each some steps of the discriminator, then of the model.

    Its defaults are the paper's where the paper says them (5 steps of the discriminator to 1 of the model).
    """

    rounds: Whole
    corpus: Literal["pairs", "dialogues"] = "dialogues"
    batch_size: Whole = 128  # dialogues, or windows of long ones
    max_turns: Annotated[int, Field(ge=2, strict=True)] = 12  # the longest window of a dialogue
    temperature: Positive = 1.0  # of samples (see training.policy)
    max_tokens: Whole = 30  # where a sample is cut, and a human response before it is judged
    learning_rate: Positive = 1e-4
    discriminator_learning_rate: Positive = 1e-3
    discriminator_size: Size = 192  # of its embeddings and states
    discriminator_warmup: Annotated[int, Field(ge=0, strict=True)] = 200  # its steps before the first round
    discriminator_steps: Whole = 5  # of a round
    generator_steps: Whole = 1  # of a round
    teacher_forcing_weight: Annotated[float, Field(ge=0, strict=True)] = 1.0
    context_dropout: Share = 0.0  # this and the next: of teacher forcing (see training.objective)
    relevance_weight: Annotated[float, Field(ge=0, strict=True)] = 0.0
    clip_norm: Positive = 1.0
    validate_every: Whole = 50  # rounds
    validation_dialogues: Whole = 500
    worst_perplexity: Annotated[float, Field(ge=1, strict=True)] = 1.25  # of the best so far; beyond it, the end


@dataclass(frozen=True, slots=True, config=_known_keys_only)
class Recipe:
    """The whole way to a checkpoint: word2vec -> pretrain (pairs) -> train (dialogues) -> adversarial. All but `train`
    are optional. `start` names a checkpoint whose network, words and weights it begins with instead of fresh ones."""

    run: Path  # the folder that keeps the run
    corpus: CorpusConfig
    train: StageConfig
    pretrain: StageConfig | None = None
    adversarial: AdversarialConfig | None = None
    word2vec: Word2VecConfig | None = None
    model: NetworkConfig = Field(default_factory=NetworkConfig)
    start: str = ""
    precision: Choice = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 0

    def __post_init__(self) -> None:
        stages = [stage for stage in (self.pretrain, self.train) if stage is not None]
        kind = self.model.kind
        demands = {
            "a language-model has no relevance; leave relevance_weight out": kind != "language-model"
            or not any(stage.relevance_weight for stage in (*stages, self.adversarial) if stage is not None),
            "a seq2seq has no state to carry; leave carry_state out": kind != "seq2seq"
            or not any(stage.carry_state for stage in stages),
            "final_learning_rate is where learning_rate comes down to; lower it": all(
                stage.final_learning_rate <= stage.learning_rate for stage in stages
            ),
            "frozen_words_tokens freezes word2vec's words; add [word2vec] or leave it out": self.word2vec is not None
            or not any(stage.frozen_words_tokens for stage in stages),
        }
        for demand, holds in demands.items():
            if not holds:
                raise ValueError(demand)


def read_toml(path: Path, kind: type[Any]) -> tuple[Any, dict[str, Any]]:
    """A recipe of some kind, and what its file says word for word.

    Raises ConfigError with one sentence where the file or a value in it cannot be used.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
        return TypeAdapter(kind).validate_python(given), given
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_fault(error.errors()[0])}.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def read_recipe(path: Path) -> Recipe:
    """Raises ConfigError with one sentence where the file or a value in it cannot be used."""
    recipe, given = read_toml(path, Recipe)
    for section in ("model", "word2vec") if recipe.start else ():
        if section in given:
            raise ConfigError(f"{path}: '{section}' has no effect, for '{recipe.start}' brings its own; leave it out.")
    for section, key, reason in _without_effect(recipe):
        if given.get(section, {}).get(key):
            raise ConfigError(f"{path}: '{section}.{key}' has no effect, for {reason}; leave it out.")
    return recipe


def _without_effect(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Sections and keys that change nothing in this recipe, and why."""
    kind = recipe.model.kind
    if recipe.start:
        yield "corpus", "vocabulary_size", f"'{recipe.start}' brings its own words"
    if kind != "hred":
        yield "model", "state_size", f"a {kind} has no state tracker"
    if kind == "language-model":
        yield from (("model", key, f"a {kind} has no encoder") for key in ("encoder_size", "bidirectional"))
    if recipe.word2vec is not None and recipe.word2vec.file:
        yield "word2vec", "epochs", "vectors of a file are not trained"
    for section, usual in (("pretrain", "pairs"), ("train", "dialogues"), ("adversarial", "dialogues")):
        stage = getattr(recipe, section)
        if stage is not None and (stage.corpus or usual) == "pairs":
            yield from ((section, key, "a pair ends with its answer") for key in ("max_turns", "carry_state"))
        if isinstance(stage, StageConfig) and not stage.reinjection:
            yield section, "reinjection_schedule", "nothing is reinjected"
        if isinstance(stage, StageConfig) and not stage.relevance_weight:
            yield section, "own_replies", "relevance_weight is 0"
        if isinstance(stage, AdversarialConfig) and not stage.teacher_forcing_weight:
            idle = ("context_dropout", "relevance_weight")
            yield from ((section, key, "teacher_forcing_weight is 0") for key in idle)


def _first_fault(fault: Any) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "value_error" and not key:
        return str(fault["ctx"]["error"])
    if fault["type"] == "unexpected_keyword_argument":
        return f"there is no key '{key}'; correct or remove it"
    if fault["type"] in ("missing", "missing_argument"):
        return f"the key '{key}' is missing"
    return f"'{key}' cannot be {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
