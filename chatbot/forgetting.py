"""What is erased from the history is also forgotten where it was laid by for training.

A retraining keeps its data in `home()/retrain/<run>/`: its `data.json` names the conversations it took, by hash.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from chatbot.home import home

_WITHOUT_TEXT = {"run.json", "checkpoint", "curves.png", "metrics.jsonl"}


def hash_of(conversation_id: str) -> str:
    """How `data.json` names a conversation: the SHA-256 of its id, in hex."""
    return hashlib.sha256(conversation_id.encode()).hexdigest()


def forget(conversation_ids: Iterable[str]) -> None:
    """Delete the data of every retraining that took one of these conversations; its record, curves and checkpoint stay.

    To be called once the conversations' rows are gone: data prepared anew then comes without them. Raises OSError.
    """
    hashes = {hash_of(conversation_id) for conversation_id in conversation_ids}
    for record in (home() / "retrain").glob("*/data.json"):
        if hashes and _may_name(record, hashes):
            _delete_text(record.parent)


def _may_name(record: Path, hashes: set[str]) -> bool:
    try:
        return not hashes.isdisjoint(json.loads(record.read_text("utf-8"))["conversations"])
    except FileNotFoundError:
        return False  # somebody else is forgetting it
    except (ValueError, KeyError, TypeError):
        return True  # it cannot be read: to be on the safe side


def _delete_text(run: Path) -> None:
    """`data.json` goes last: whoever is interrupted here finds the run again."""
    paths = [path for path in run.iterdir() if path.name not in _WITHOUT_TEXT]
    for path in sorted(paths, key=lambda path: path.name == "data.json"):
        remove(path)


def remove(path: Path) -> None:
    """Delete a file or a folder that somebody else may be deleting as well. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(function: Callable[..., Any], path: str, error: tuple[type, BaseException, TracebackType]) -> None:
    if not isinstance(error[1], FileNotFoundError):  # somebody else may be forgetting it as well
        raise error[1]
