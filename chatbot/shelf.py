"""The shelf of checkpoints, and which one on it is live. Who only asks loads no torch.

`default` names the shipped checkpoint, `live` the promoted one (the shipped one until something is promoted), an id one
on the shelf, where promoted checkpoints are kept:

    $CHATBOT_HOME/checkpoints/ID                  a copy of each that was promoted
    $CHATBOT_HOME/checkpoints/live                a link to the one that answers; replaced in one step
    $CHATBOT_HOME/checkpoints/promotions.jsonl    what was made live, when, and instead of what
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from chatbot.home import home

if TYPE_CHECKING:
    from chatbot.checkpoint import Checkpoint

SHIPPED = Path(__file__).parent / "pretrained"


class CheckpointError(ValueError):
    """A folder that is no checkpoint, or a broken one; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """`checkpoint_id` was made live instead of `before`; a rollback takes the promotion of `before` back."""

    checkpoint_id: str
    at: datetime
    before: str
    is_rollback: bool = False


def folder_of(where: str | Path) -> Path:
    live = shelf() / "live"
    if where == "default" or (where == "live" and not live.is_symlink()):
        return SHIPPED
    if where == "live":
        return live.resolve()
    return shelf() / where if str(where) in shelved() and not Path(where).exists() else Path(where)


def identify(folder: Path) -> str:
    """The id of the checkpoint in a folder, made without loading it. Raises OSError where a file is missing."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    digest.update((folder / "vocabulary.json").read_bytes())
    for name in ("chooser.safetensors", "responses.safetensors"):  # which not every checkpoint has
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return f"hred-{digest.hexdigest()[:12]}"


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


def promote(where: str | Path) -> "Checkpoint":
    """Copies a checkpoint to the shelf and makes it `live` in one step; any number of processes may do so at once.

    Raises CheckpointError where it is broken or changes meanwhile, OSError where `home()` cannot be written.
    """
    promoted = _shelve(_load(where))
    with _shelf_alone():
        _make_live(promoted.id)
    return promoted


def rollback() -> "Checkpoint":
    """Makes `live` what was so before the last promotion that was not taken back yet; again goes further back.

    Raises CheckpointError where nothing was, or where that is gone or broken, OSError where `home()` cannot be written.
    """
    with _shelf_alone():
        *earlier, live = _line_of_live()
        if not earlier:
            raise CheckpointError(f"No other checkpoint was live before {live}; promote one instead.")
        before = _shelve(_load(_kept(earlier[-1])))
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


def _shelve(checkpoint: "Checkpoint") -> "Checkpoint":
    """The checkpoint as it stands on the shelf, copied there unless it is, or another process is quicker."""
    place = shelf() / checkpoint.id
    if not place.exists():
        shelf().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf(), prefix=".promoting-") as scratch:
            _copy(checkpoint, Path(scratch) / "copy", place)
    return _load(place)


def _copy(checkpoint: "Checkpoint", copy: Path, place: Path) -> None:
    shutil.copytree(checkpoint.folder, copy)
    if _load(copy).id != checkpoint.id:
        raise CheckpointError(f"The checkpoint in {checkpoint.folder} changed while it was copied; promote it again.")
    try:
        copy.rename(place)
    except OSError:
        if not place.exists():
            raise


def _load(where: str | Path) -> "Checkpoint":
    from chatbot.checkpoint import load_checkpoint

    return load_checkpoint(where)
