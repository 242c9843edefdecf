"""The processor at hand: the number format in which it multiplies fastest, and the cores that others leave free."""

import os
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from typing import Literal, get_args

import psutil
import torch
from torch.nn import functional as F

from chatbot.pools import leaving_no_pool

Precision = Literal["bfloat16", "float32"]
Choice = Literal["auto", "bfloat16", "float32"]

NICENESS = 5  # of long work; a server beside it then gets three quarters of a core that both want
LOOK_SECONDS = 5.0  # between two looks at what others use
_TRIAL = (64, 512, 1536)  # rows, inputs and outputs of the products that precisions are judged by
_TRIAL_SECONDS = 0.3  # where bfloat16 is emulated, one round takes longer than that


def chosen(precision: Choice) -> Precision:
    """Return the precision named, or for "auto" the one in which this processor multiplies faster."""
    return fastest_precision() if precision == "auto" else precision


@cache
@leaving_no_pool
def fastest_precision() -> Precision:
    """Measure once in a process which precision does the three products of a training step faster.

    A processor without instructions for bfloat16 multiplies it a hundred times slower than float32; one with them,
    two to five times faster. The best of several rounds counts, for others may be at work meanwhile.
    """
    best: dict[Precision, float] = dict.fromkeys(get_args(Precision), float("inf"))
    end = time.perf_counter() + _TRIAL_SECONDS
    while True:
        for precision in best:
            best[precision] = min(best[precision], _seconds(precision))
        if time.perf_counter() > end:
            return min(best, key=best.__getitem__)


def _seconds(precision: Precision) -> float:
    """Time one layer forwards and backwards."""
    rows, inputs, outputs = _TRIAL
    x, weight = torch.ones(rows, inputs, requires_grad=True), torch.ones(outputs, inputs, requires_grad=True)
    begin = time.perf_counter()
    with autocast(precision):
        F.linear(x, weight).sum().backward()
    return time.perf_counter() - begin


def autocast(precision: Precision) -> AbstractContextManager[object]:
    """Return a context in which products are taken in that precision."""
    return torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()


def step_back() -> None:
    """Give this process, and the threads that it starts from now on, a lower priority than a server's."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


class FreeCores:
    """The cores that other processes leave free, and as many threads for PyTorch.

    Two pools of threads on the same cores wait for each other at every product, which can take longer than the
    products. To be used by the thread that computes, since PyTorch counts threads for each apart.
    """

    def __init__(self) -> None:
        self._most = torch.get_num_threads()  # one for each core, unless the user wants fewer
        self._process = psutil.Process()
        self._looked_at = time.monotonic()
        self._busy = self._busy_seconds()

    def look(self) -> None:
        """Set PyTorch's threads by what other processes used since the last look, if that is long enough ago."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            busy = self._busy_seconds()
            used = (busy - self._busy) / (now - self._looked_at)
            self._looked_at, self._busy = now, busy
            torch.set_num_threads(threads_beside(used, self._most))

    def _busy_seconds(self) -> float:
        """Return the seconds of processor time that all other processes have used so far."""
        everybody, own = psutil.cpu_times(), self._process.cpu_times()
        idle = everybody.idle + getattr(everybody, "iowait", 0.0)
        return sum(everybody) - idle - _counted_twice(everybody) - own.user - own.system


def _counted_twice(times: object) -> float:
    """Return what Linux counts as a guest's time and as a user's as well."""
    return float(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0))


def threads_beside(used: float, cores: int) -> int:
    """Return how many threads suit `cores` of which others use `used`, at least one."""
    return max(1, min(cores, round(cores - used)))
