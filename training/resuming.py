"""What a stage of training leaves in its folder so that it goes on from there, whatever interrupted it.

`latest.safetensors` holds weights, optimisers and the position in one file, replaced in one step; `metrics.jsonl` a row
for each validation.
"""

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from chatbot.checkpoint import in_layers, save_weights
from chatbot.processor import FreeCores

SAVE_SECONDS = 120  # between two saves, at the most

Parts = Mapping[str, nn.Module | Optimizer]  # what learns, by a name of its own
Position = TypeVar("Position")


def save_latest(folder: Path, position: Any, parts: Parts, more: Mapping[str, Tensor]) -> None:
    """Replaces what a stage goes on from: its position (a dataclass), its parts and some more tensors."""
    tensors = dict(more)
    for of, part in parts.items():
        tensors |= {f"{of}.{name}": value for name, value in _tensors(part).items()}
    fresh = folder / ".latest.safetensors"
    save_weights(tensors, fresh, {"position": json.dumps(asdict(position))})
    fresh.replace(folder / "latest.safetensors")


def load_latest(folder: Path, kind: type[Position], parts: Parts) -> tuple[Position, dict[str, Tensor]] | None:
    """Brings the parts to where they were saved; returns the position and the tensors saved, None if nothing was.

    Raises ValueError with a sentence where the file is damaged or of another network.
    """
    file = folder / "latest.safetensors"
    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
            position = kind(**json.loads(opened.metadata()["position"]))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged; remove {folder} to begin the stage again.") from error
    try:
        for of, part in parts.items():
            _restore(
                part, {name.removeprefix(f"{of}."): tensors[name] for name in tensors if name.startswith(f"{of}.")}
            )
    except RuntimeError as error:
        raise ValueError(f"{file} is of a network of other sizes; remove {folder} or name another run.") from error
    return position, tensors


def add_row(folder: Path, row: dict[str, Any], counter: str) -> None:
    """Adds a row to `metrics.jsonl`, in place of those that `counter` says are gone through again after a kill."""
    metrics, fresh = folder / "metrics.jsonl", folder / ".metrics.jsonl"
    lines = metrics.read_text("utf-8").splitlines() if metrics.is_file() else []
    rows = [earlier for earlier in map(json.loads, lines) if earlier[counter] < row[counter]]
    fresh.write_text("".join(f"{json.dumps(one)}\n" for one in [*rows, row]), encoding="utf-8")
    fresh.replace(metrics)


def go_through(steps: Iterable[bool], save: Callable[[], None]) -> None:
    """Takes the steps of a stage and saves where one says that it must, now and then besides, and at Ctrl-C.

    Ctrl-C ends it by KeyboardInterrupt once the step under way is done and saved, pressed again at once.
    """
    last_save, cores = time.monotonic(), FreeCores()
    with _patient_ctrl_c() as pressed:
        for must_be_saved in steps:
            cores.look()
            if must_be_saved or pressed() or time.monotonic() - last_save > SAVE_SECONDS:
                save()
                last_save = time.monotonic()
            if pressed():
                raise KeyboardInterrupt


@contextmanager
def _patient_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed instead of breaking off in mid-step; pressed again, it breaks off."""
    presses: list[int] = []

    def press(number: int, _: object) -> None:
        presses.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(presses)
    finally:
        signal.signal(signal.SIGINT, before)


def _tensors(part: nn.Module | Optimizer) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return part.state_dict()
    states = part.state_dict()["state"].items()
    return {f"{index}.{key}": value for index, state in states for key, value in state.items()}


def _restore(part: nn.Module | Optimizer, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict(in_layers(tensors))
        return
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
