"""A training recipe: TOML -> frozen dataclasses. A key nobody knows or a value nobody can use is one clear error."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, config=_known_keys_only)
class SizesConfig:
    """Sizes of the network (see chatbot.model.ModelConfig)."""

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
    batch_size: Whole = 64  # dialogues, or windows of long ones
    max_turns: Annotated[int, Field(ge=2, strict=True)] = 12  # the longest window of a dialogue
    learning_rate: Positive = 1e-3
    final_learning_rate: Positive = 5e-5  # reached along a cosine
    warmup_steps: Annotated[int, Field(ge=0, strict=True)] = 100
    clip_norm: Positive = 1.0
    word_dropout: Share = 0.0
    context_dropout: Share = 0.0
    relevance_weight: Annotated[float, Field(ge=0, strict=True)] = 0.0
    frozen_words_tokens: Annotated[int, Field(ge=0, strict=True)] = 0  # how long word2vec's embeddings stay as they are
    validate_every: Whole = 500_000  # target tokens
    validation_dialogues: Whole = 2_000
    keep: Literal["best", "last"] = "best"  # the model of the best validation, or of the last
    patience: Whole = 4  # validations without a better perplexity before the stage ends


@dataclass(frozen=True, slots=True, config=_known_keys_only)
class Recipe:
    """The whole way to a checkpoint: word2vec -> pretrain (pairs) -> train (dialogues). The first two are optional."""

    run: Path  # the folder that keeps the run
    corpus: CorpusConfig
    train: StageConfig
    pretrain: StageConfig | None = None
    word2vec: Word2VecConfig | None = None
    model: SizesConfig = Field(default_factory=SizesConfig)
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 0


def read_recipe(path: Path) -> Recipe:
    """Raises ConfigError with one sentence where the file or a value in it cannot be used."""
    try:
        return TypeAdapter(Recipe).validate_python(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_fault(error.errors()[0])}.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _first_fault(fault: Any) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "unexpected_keyword_argument":
        return f"there is no key '{key}'; correct or remove it"
    if fault["type"] in ("missing", "missing_argument"):
        return f"the key '{key}' is missing"
    return f"'{key}' cannot be {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
