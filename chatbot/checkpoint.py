"""A checkpoint is one folder that answers by itself: weights, sizes, vocabulary, figures. Nothing in it can execute.

model.safetensors   weights in float16
config.json         {"format": 2, "model": {kind, cell, sizes}}
vocabulary.json     tokens in id order
metrics.json        what was measured of it
chooser.safetensors, responses.safetensors    what chooses a reply, and written responses (see chatbot.choosing)
MODEL_CARD.md       sources, licences, faults (the shipped one)
"""

import errno
import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from chatbot.choosing.facts import Facts
from chatbot.choosing.plain import PlainReplies
from chatbot.choosing.responses import OwnResponses, load_responses
from chatbot.choosing.sense import SenseJudge
from chatbot.choosing.storing import load_chooser
from chatbot.model import HRED, ModelConfig
from chatbot.pools import Undrawn, leaving_no_pool
from chatbot.shelf import CheckpointError, folder_of, identify
from chatbot.state_map import StateMap, read_map
from data.vocabulary import Vocabulary

_FORMAT = 2  # 1 knew one layer of cells only, and called its weights accordingly; it is still read
_REQUIRED = ("config.json", "vocabulary.json", "model.safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`id` is made from the weights, the vocabulary, the chooser and the written responses: two checkpoints with one id
    answer alike. `judge` and `responses` are None where the checkpoint has no chooser or no written responses."""

    id: str
    folder: Path
    model: HRED
    vocabulary: Vocabulary
    metrics: dict[str, Any]
    state_map: StateMap | None = None
    judge: SenseJudge | None = None
    responses: OwnResponses | None = None


def load_checkpoint(where: str | Path) -> Checkpoint:
    """The checkpoint named `default`, `live` or by its id, or in a folder; its model in float32, in evaluation mode.

    Raises CheckpointError where it is missing, incomplete, damaged or of another format.
    """
    folder = folder_of(where)
    missing = [name for name in _REQUIRED if not os.path.isfile(folder / name)]
    if missing:
        raise CheckpointError(
            f"There is no checkpoint in {folder} ({missing[0]} is missing). Name a folder that `chatbot train` wrote, "
            "`default` for the shipped checkpoint, `live` for the promoted one or an id of `chatbot models list`."
        )
    try:
        config = _read_config(folder / "config.json")
        vocabulary = Vocabulary.load(folder / "vocabulary.json")
        if len(vocabulary) != config.vocabulary_size:
            raise ValueError(f"{len(vocabulary)} tokens in the vocabulary, {config.vocabulary_size} in config.json")
        model = _read_model(folder / "model.safetensors", config)
        metrics_file = folder / "metrics.json"
        metrics = json.loads(metrics_file.read_text("utf-8")) if metrics_file.is_file() else {}
        state_map = read_map(folder, model.state_width)
        chooser = load_chooser(folder, vocabulary)
        judge = None if chooser is None else SenseJudge(chooser, vocabulary.speech().marks, Facts(vocabulary))
        plain = None if chooser is None else PlainReplies(chooser, vocabulary)
        responses = load_responses(folder, vocabulary, plain)
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"The checkpoint in {folder} is damaged or of another version: {reason}.") from error
    return Checkpoint(identify(folder), folder, model, vocabulary, metrics, state_map, judge, responses)


def save_checkpoint(folder: Path, model: HRED, vocabulary: Vocabulary, metrics: dict[str, Any]) -> Checkpoint:
    """Writes a checkpoint beside its place and moves it there whole; one that stood there is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / folder.name
        fresh.mkdir()
        weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
        save_weights(weights, fresh / "model.safetensors")
        # safetensors makes it its owner's alone; a server may be another user
        (fresh / "model.safetensors").chmod(0o644)
        _write_json(fresh / "config.json", {"format": _FORMAT, "model": asdict(model.config)})
        vocabulary.save(fresh / "vocabulary.json")
        _write_json(fresh / "metrics.json", metrics)
        if folder.exists():
            folder.rename(Path(scratch) / "replaced")
        fresh.rename(folder)
    return load_checkpoint(folder)


def save_weights(weights: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    """Raises OSError where safetensors has an error of its own for a full disk or a folder that is gone."""
    try:
        save_file(weights, file, metadata)
    except SafetensorError as error:
        reason = re.sub(r"^.*?error: | \(os error.*", "", str(error))
        raise OSError(errno.EIO, reason, str(file)) from error


# Reading and writing a folder


def _read_config(path: Path) -> ModelConfig:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict) or content.get("format") not in (1, _FORMAT):
        raise ValueError(f"config.json says neither format 1 nor {_FORMAT}")
    return ModelConfig(**content["model"])


@leaving_no_pool
def _read_model(path: Path, config: ModelConfig) -> HRED:
    # A copy even of float32: what stays mapped to the file would end the process when somebody shortens the file.
    weights = {name: value.to(torch.float32, copy=True) for name, value in in_layers(load_file(path)).items()}
    if config.layers > len(weights):
        raise ValueError(f"config.json speaks of {config.layers} layers, the weights are {len(weights)}")
    with torch.device("meta"), Undrawn():  # sizes are compared before memory is taken for them
        model = HRED(config)
    if not all(value.isfinite().all() for value in weights.values()):
        raise ValueError("some of its weights are no numbers")
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


def in_layers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of today, whether they have them or those of format 1."""
    return {
        re.sub(r"(forwards|backwards|rnn)\.((weight|bias)_[ih]h)$", r"\1.0.\2", name): value
        for name, value in weights.items()
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
