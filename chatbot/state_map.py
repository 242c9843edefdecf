"""A checkpoint's map: two directions in which dialogue states differ most, and where those of a corpus lie.

It is drawn once for a checkpoint and kept beside its weights, so that a dialogue's path looks the same every time. Of
the corpus only numbers are kept: how many states fell into each square. The directions are the first two principal
components (Pearson, 1901); of 512 they show what two can.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

if TYPE_CHECKING:  # who only places states on a map loads no torch
    from chatbot.model import HRED
    from data.store import TokenStore

FILE = "state-map.safetensors"
_MOST = 20_000  # states; more of them change nothing that one sees
_TURNS = 40  # of a longer dialogue, the state begins anew
_SQUARES = 32  # a side
_OUTSIDE = 0.01  # the share of states that may lie beyond each edge


@dataclass(frozen=True, slots=True)
class StateMap:
    """S numbers of a state -> two, 0 to 1 for nearly all that the corpus held."""

    mean: np.ndarray  # (S,)
    axes: np.ndarray  # (S, 2)
    low: np.ndarray  # (2,)
    high: np.ndarray  # (2,)
    density: np.ndarray  # (rows, columns) from 0 to 1, the first row at the top

    def place(self, states: np.ndarray) -> np.ndarray:
        """(n, S) -> (n, 2): x from the left, y from the top."""
        return np.asarray(((states - self.mean) @ self.axes - self.low) / (self.high - self.low))

    def save(self, folder: Path) -> None:
        parts = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in self.__slots__}
        save_file(parts, folder / FILE)
        (folder / FILE).chmod(0o644)


def draw_map(states: np.ndarray) -> StateMap:
    """The map of a corpus' states (n, S). Raises ValueError where they do not differ."""
    if len(states) < 3:
        raise ValueError("there are too few dialogues to draw a map of")
    mean = states.mean(axis=0)
    _, _, directions = np.linalg.svd(states - mean, full_matrices=False)
    axes = directions[:2].T
    flat = (states - mean) @ axes  # (n, 2)
    low, high = np.quantile(flat, (_OUTSIDE, 1 - _OUTSIDE), axis=0)
    if not (high > low).all():
        raise ValueError("these dialogues' states are all alike")
    counts, *_ = np.histogram2d(flat[:, 1], flat[:, 0], _SQUARES, [(low[1], high[1]), (low[0], high[0])])
    return StateMap(mean, axes, low, high, np.sqrt(counts / counts.max()))


def add_map(folder: Path, model: "HRED", dialogues: "TokenStore") -> None:
    """Draw the map of the checkpoint in `folder` by dialogues of its own vocabulary. Raises ValueError, OSError."""
    draw_map(_states(model, dialogues)).save(folder)


def _states(model: "HRED", dialogues: "TokenStore") -> np.ndarray:
    """Those after each turn of some of the dialogues (n, S)."""
    import torch

    from data.batches import batches

    found: list[np.ndarray] = []
    with torch.no_grad():
        for batch in batches(dialogues, 32, _TURNS, np.random.default_rng(0)):
            found.append(model.read(batch)[1][batch.turn_sizes[0] :].float().numpy())
            if sum(map(len, found)) >= _MOST:
                break
    return np.concatenate(found) if found else np.zeros((0, model.state_width))


def read_map(folder: Path, state_size: int) -> StateMap | None:
    """None where a checkpoint has none. Raises ValueError where the file is no map of states of that size."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        found = StateMap(**{name: value.astype(np.float32) for name, value in load_file(file).items()})
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"{FILE} is no map") from error
    shapes = (found.mean.shape, found.axes.shape, found.low.shape, found.high.shape, found.density.shape)
    wanted = ((state_size,), (state_size, 2), (2,), (2,), (_SQUARES, _SQUARES))
    if shapes != wanted or not all(np.isfinite(getattr(found, name)).all() for name in StateMap.__slots__):
        raise ValueError(f"{FILE} is no map of this checkpoint's states")
    if not (found.high > found.low).all():
        raise ValueError(f"{FILE} is no map")
    return found
