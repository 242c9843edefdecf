"""The recipe of a chooser: which checkpoint it is for, what it learns from, and for how many steps."""

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, StrictBool
from pydantic.dataclasses import dataclass

from training.config import CorpusConfig, Positive, Whole, read_toml

Steps = Annotated[int, Field(ge=0, strict=True)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class ChooserRecipe:
    """The stages are those of `training.choosing.learning`, each with its number of steps and its learning rate."""

    run: Path  # the folder that keeps the run, and the finished checkpoint
    corpus: CorpusConfig
    start: str = "default"  # the checkpoint that gets the chooser
    judgements: tuple[Path, ...] = ()  # files of readers' judgements beside those that every installation has
    likeness_steps: Steps = 1_500
    likeness_rate: Positive = 2e-3
    comparison_steps: Steps = 4_000
    comparison_rate: Positive = 1e-3
    passes: Whole = 4  # over the judgements
    judgement_rate: Positive = 5e-4
    continues: StrictBool = False  # from the chooser that the checkpoint has, with judgements alone
    size: Annotated[int, Field(ge=8, le=1024, strict=True)] = 128  # numbers of a word and of each layer
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 0


def read_chooser_recipe(path: Path) -> ChooserRecipe:
    """Raises ConfigError with one sentence where the file or a value in it cannot be used."""
    return read_toml(path, ChooserRecipe)[0]
