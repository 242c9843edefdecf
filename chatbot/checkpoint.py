"""A checkpoint is one folder that answers by itself: weights, sizes, vocabulary, figures. Nothing in it can execute.

    model.safetensors   weights in float16
    config.json         {"format": 2, "model": {kind, cell, sizes}}
    vocabulary.json     tokens in id order
    metrics.json        what was measured of it
    MODEL_CARD.md       sources, licences, faults (the shipped one)

`default` names the shipped checkpoint, `live` the promoted one (the shipped one until something is promoted), an id one
on the shelf, where promoted checkpoints are kept:

    $CHATBOT_HOME/checkpoints/ID                  a copy of each that was promoted
    $CHATBOT_HOME/checkpoints/live                a link to the one that answers; replaced in one step
    $CHATBOT_HOME/checkpoints/promotions.jsonl    what was made live, when, and instead of what
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from chatbot.home import home
from chatbot.model import HRED, ModelConfig
from chatbot.pools import leaving_no_pool
from chatbot.state_map import StateMap, read_map
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
    state_map: StateMap | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """`checkpoint_id` was made live instead of `before`; a rollback takes the promotion of `before` back."""

    checkpoint_id: str
    at: datetime
    before: str
    is_rollback: bool = False


def load_checkpoint(where: str | Path) -> Checkpoint:
    """The checkpoint named `default`, `live` or by its id, or in a folder; its model in float32, in evaluation mode.

    Raises CheckpointError where it is missing, incomplete, damaged or of another format.
    """
    folder = _folder_of(where)
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
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"The checkpoint in {folder} is damaged or of another version: {reason}.") from error
    return Checkpoint(identify(folder), folder, model, vocabulary, metrics, state_map)


def identify(folder: Path) -> str:
    """The id of the checkpoint in a folder, made without loading it. Raises OSError where a file is missing."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    digest.update((folder / "vocabulary.json").read_bytes())
    return f"hred-{digest.hexdigest()[:12]}"


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


# The shelf, and which one on it is live


def shelf() -> Path:
    """The folder of promoted checkpoints; it may not be there yet."""
    return home() / "checkpoints"


def shelved() -> list[str]:
    """The ids of the checkpoints on the shelf, in no order that means anything."""
    if not shelf().is_dir():
        return []
    folders = (path for path in shelf().iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(folder.name for folder in folders if not folder.name.startswith("."))


def live_id() -> str:
    """The id of the checkpoint that is live, whether or not it can be loaded."""
    link = shelf() / "live"
    return Path(os.readlink(link)).name if link.is_symlink() else identify(SHIPPED)


def live_pointer() -> tuple[int, int] | None:
    """Something cheap that is another whenever a checkpoint was made live since, be it the same one again.

    None as long as nothing was promoted. Raises OSError where that cannot be told.
    """
    try:
        link = os.lstat(shelf() / "live")
    except FileNotFoundError:
        return None
    return link.st_ino, link.st_mtime_ns


def promotions() -> list[Promotion]:
    """All that was ever promoted or rolled back to, oldest first."""
    record = shelf() / "promotions.jsonl"
    lines = record.read_text("utf-8", errors="replace").splitlines() if record.is_file() else []
    return [promotion for line in lines if (promotion := _read_promotion(line))]


def promote(where: str | Path) -> Checkpoint:
    """Copies a checkpoint to the shelf and makes it `live` in one step; any number of processes may do so at once.

    Raises CheckpointError where it is broken or changes meanwhile, OSError where `home()` cannot be written.
    """
    promoted = _shelve(load_checkpoint(where))
    with _shelf_alone():
        _make_live(promoted.id)
    return promoted


def rollback() -> Checkpoint:
    """Makes `live` what was so before the last promotion that was not taken back yet; again goes further back.

    Raises CheckpointError where nothing was, or where that is gone or broken, OSError where `home()` cannot be written.
    """
    with _shelf_alone():
        *earlier, live = _line_of_live()
        if not earlier:
            raise CheckpointError(f"No other checkpoint was live before {live}; promote one instead.")
        before = _shelve(load_checkpoint(_kept(earlier[-1])))
        _make_live(before.id, is_rollback=True)
    return before


def before_live() -> Path | None:
    """The folder of the checkpoint that a rollback would make live; None where there was none, or it is gone."""
    *earlier, _ = _line_of_live()
    with suppress(CheckpointError):
        return _kept(earlier[-1]) if earlier else None
    return None


def _read_promotion(line: str) -> Promotion | None:
    """None where somebody wrote into the record what is none."""
    try:
        entry = json.loads(line)
        at = datetime.fromisoformat(entry["at"])
        return Promotion(str(entry["checkpoint"]), at, str(entry["before"]), bool(entry.get("rollback")))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _line_of_live() -> list[str]:
    """The ids that were live one after another up to now, without those that were taken back."""
    line: list[str] = []
    for promotion in promotions():
        if line[-1:] != [promotion.before]:  # made live by hand, or by a process that died before it wrote so
            line.append(promotion.before)
        if promotion.is_rollback:
            line.pop()
        else:
            line.append(promotion.checkpoint_id)
    live = live_id()
    return line if line[-1:] == [live] else [*line, live]


def _kept(checkpoint_id: str) -> Path:
    """The folder of a checkpoint that was live. Raises CheckpointError where it is no longer there."""
    folder = shelf() / checkpoint_id
    if not folder.exists() and checkpoint_id == identify(SHIPPED):
        return SHIPPED
    if not folder.is_dir():
        raise CheckpointError(f"{checkpoint_id}, which was live before, is no longer in {shelf()}; promote another.")
    return folder


@contextmanager
def _shelf_alone() -> Iterator[None]:
    """Other processes and threads that want to make something live wait meanwhile; a death lets go of the shelf."""
    shelf().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(shelf(), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_live(checkpoint_id: str, *, is_rollback: bool = False) -> None:
    """First the link, then the record: who dies in between has promoted, and the next one sees it by the link.

    Both are written before either is moved to its place: a full disk changes nothing.
    """
    before, record = live_id(), shelf() / "promotions.jsonl"
    with tempfile.TemporaryDirectory(dir=shelf(), prefix=".promoting-") as scratch:
        link, fresh = Path(scratch) / "live", Path(scratch) / "record"
        link.symlink_to(checkpoint_id)
        now = datetime.now(UTC)
        entry = {"checkpoint": checkpoint_id, "at": now.isoformat(), "before": before, "rollback": is_rollback}
        lines = record.read_text("utf-8", errors="replace") if record.is_file() else ""
        fresh.write_text(f"{lines}{json.dumps(entry)}\n", encoding="utf-8")
        link.replace(shelf() / "live")
        if checkpoint_id != before:
            fresh.replace(record)


def _shelve(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as it stands on the shelf, copied there unless it is, or another process is quicker."""
    place = shelf() / checkpoint.id
    if not place.exists():
        shelf().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf(), prefix=".promoting-") as scratch:
            _copy(checkpoint, Path(scratch) / "copy", place)
    return load_checkpoint(place)


def _copy(checkpoint: Checkpoint, copy: Path, place: Path) -> None:
    shutil.copytree(checkpoint.folder, copy)
    if load_checkpoint(copy).id != checkpoint.id:
        raise CheckpointError(f"The checkpoint in {checkpoint.folder} changed while it was copied; promote it again.")
    try:
        copy.rename(place)
    except OSError:
        if not place.exists():
            raise


# Reading and writing a folder


def _folder_of(where: str | Path) -> Path:
    live = shelf() / "live"
    if where == "default" or (where == "live" and not live.is_symlink()):
        return SHIPPED
    if where == "live":
        return live.resolve()
    return shelf() / where if str(where) in shelved() and not Path(where).exists() else Path(where)


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
    with torch.device("meta"), _Undrawn():  # sizes are compared before memory is taken for them
        model = HRED(config)
    if not all(value.isfinite().all() for value in weights.values()):
        raise ValueError("some of its weights are no numbers")
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


class _Undrawn(TorchFunctionMode):
    """Lets no weight be drawn: they are replaced anyway, and to draw them torch would load its compiler, 75 MB."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def in_layers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of today, whether they have them or those of format 1."""
    return {
        re.sub(r"(forwards|backwards|rnn)\.((weight|bias)_[ih]h)$", r"\1.0.\2", name): value
        for name, value in weights.items()
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
