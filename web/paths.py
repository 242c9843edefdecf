"""Where a dialogue went: its states on the checkpoint's map."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from chatbot.history import PATH_TURNS, Waypoint
from chatbot.reply import DialogueState
from chatbot.state_map import StateMap


def path_on(state_map: StateMap | None, way: Sequence[Waypoint]) -> dict[str, Any]:
    """As `web.protocol.DialoguePath`, of the last PATH_TURNS; the states are all of the map's checkpoint."""
    if state_map is None:
        return {"points": [], "map": None}
    states = [_numbers(point.state) for point in way]
    steps = [None, *(_distance(before, after) for before, after in pairwise(states))]
    points = [
        {"turn_id": point.turn_id, "speaker": point.speaker, "moved": step, **_place(state_map, state)}
        for point, state, step in zip(way, states, steps, strict=False)
    ]
    return {"points": points[-PATH_TURNS:], "map": {"density": state_map.density.round(3).tolist()}}


def _place(state_map: StateMap, state: np.ndarray) -> dict[str, float]:
    x, y = state_map.place(state[None])[0]
    return {"x": float(x), "y": float(y)}


def moved(before: DialogueState | None, after: DialogueState | None) -> float | None:
    """How far apart two states are; None where they are not of one checkpoint."""
    if before is None or after is None or before.checkpoint != after.checkpoint:
        return None
    return _distance(_numbers(before), _numbers(after))


def _distance(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.linalg.norm(after - before))


def _numbers(state: DialogueState) -> np.ndarray:
    return np.frombuffer(state.vector, dtype="<f4")
