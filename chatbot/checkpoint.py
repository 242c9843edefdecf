"""A checkpoint is one folder that answers by itself: weights, sizes, vocabulary, figures. Nothing in it can execute.

    model.safetensors   weights in float16
    config.json         {"format": 2, "model": {kind, cell, sizes}}
    vocabulary.json     tokens in id order
    metrics.json        what was measured of it
    MODEL_CARD.md       sources, licences, faults (the shipped one)

`default` names the shipped checkpoint, `live` the promoted one (the shipped one until something is promoted).
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from chatbot.home import home
from chatbot.model import HRED, ModelConfig
from data.vocabulary import Vocabulary

SHIPPED = Path(__file__).parent / "pretrained"
_FORMAT = 2  # 1 knew one layer of cells only, and called its weights accordingly; it is still read
_REQUIRED = ("config.json", "vocabulary.json", "model.safetensors")


class CheckpointError(ValueError):
    """A folder that is no checkpoint, or a broken one; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`id` is made from the weights and the vocabulary: two checkpoints with one id answer alike."""

    id: str
    folder: Path
    model: HRED
    vocabulary: Vocabulary
    metrics: dict[str, Any]


def load_checkpoint(where: str | Path) -> Checkpoint:
    """The checkpoint named `default` or `live`, or in a folder; its model in float32 and in evaluation mode.

    Raises CheckpointError where it is missing, incomplete, damaged or of another format.
    """
    folder = _folder_of(where)
    missing = [name for name in _REQUIRED if not os.path.isfile(folder / name)]
    if missing:
        raise CheckpointError(
            f"There is no checkpoint in {folder} ({missing[0]} is missing). Name a folder that `chatbot train` wrote, "
            "`default` for the shipped checkpoint or `live` for the promoted one."
        )
    try:
        config = _read_config(folder / "config.json")
        vocabulary = Vocabulary.load(folder / "vocabulary.json")
        if len(vocabulary) != config.vocabulary_size:
            raise ValueError(f"{len(vocabulary)} tokens in the vocabulary, {config.vocabulary_size} in config.json")
        model = _read_model(folder / "model.safetensors", config)
        metrics_file = folder / "metrics.json"
        metrics = json.loads(metrics_file.read_text("utf-8")) if metrics_file.is_file() else {}
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"The checkpoint in {folder} is damaged or of another version: {reason}.") from error
    return Checkpoint(_identity(folder), folder, model, vocabulary, metrics)


def save_checkpoint(folder: Path, model: HRED, vocabulary: Vocabulary, metrics: dict[str, Any]) -> Checkpoint:
    """Writes a checkpoint beside its place and moves it there whole; one that stood there is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / folder.name
        fresh.mkdir()
        weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
        save_file(weights, fresh / "model.safetensors")
        # safetensors makes it its owner's alone; a server may be another user
        (fresh / "model.safetensors").chmod(0o644)
        _write_json(fresh / "config.json", {"format": _FORMAT, "model": asdict(model.config)})
        vocabulary.save(fresh / "vocabulary.json")
        _write_json(fresh / "metrics.json", metrics)
        if folder.exists():
            folder.rename(Path(scratch) / "replaced")
        fresh.rename(folder)
    return load_checkpoint(folder)


def promote(where: str | Path) -> Checkpoint:
    """Copies a checkpoint under `home()` and makes it `live` in one step; any number of processes may do so at once.

    Raises CheckpointError where it is broken or changes meanwhile, OSError where `home()` cannot be written.
    """
    checkpoint = load_checkpoint(where)
    shelf = home() / "checkpoints"
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".promoting-") as scratch:
        if not (shelf / checkpoint.id).exists():
            _shelve(checkpoint, shelf, Path(scratch) / "copy")
        promoted = load_checkpoint(shelf / checkpoint.id)
        pointer = Path(scratch) / "live"
        pointer.symlink_to(checkpoint.id)
        pointer.replace(shelf / "live")
    return promoted


def _shelve(checkpoint: Checkpoint, shelf: Path, copy: Path) -> None:
    """Copies a checkpoint and moves the copy to its place on the shelf, unless another process is quicker."""
    shutil.copytree(checkpoint.folder, copy)
    if load_checkpoint(copy).id != checkpoint.id:
        raise CheckpointError(f"The checkpoint in {checkpoint.folder} changed while it was copied; promote it again.")
    try:
        copy.rename(shelf / checkpoint.id)
    except OSError:
        if not (shelf / checkpoint.id).exists():
            raise


def _folder_of(where: str | Path) -> Path:
    live = home() / "checkpoints" / "live"
    if where == "default" or (where == "live" and not live.exists()):
        return SHIPPED
    return live.resolve() if where == "live" else Path(where)


def _read_config(path: Path) -> ModelConfig:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict) or content.get("format") not in (1, _FORMAT):
        raise ValueError(f"config.json says neither format 1 nor {_FORMAT}")
    return ModelConfig(**content["model"])


def _read_model(path: Path, config: ModelConfig) -> HRED:
    with torch.device("meta"):  # sizes are compared before memory is taken for them
        model = HRED(config)
    weights = {name: value.float() for name, value in in_layers(load_file(path)).items()}
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


def _identity(folder: Path) -> str:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    digest.update((folder / "vocabulary.json").read_bytes())
    return f"hred-{digest.hexdigest()[:12]}"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
