"""PyTorch gives every thread that computes a pool of threads of its own, kept as long as that thread lives.

Where there are more of them than processors, all of them stop waiting for work at the ready and sleep instead, and to
wake them for each product takes longer than the product: an engine beside one idle pool was 1.8 times slower.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from torch.overrides import TorchFunctionMode

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def leaving_no_pool(work: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """`work` in a thread that ends with it, and its pool with the thread."""

    @wraps(work)
    def apart(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(work, *args, **kwargs).result()

    return apart


class Undrawn(TorchFunctionMode):
    """Skip the random initial values of weights: they are replaced, and torch would load 75 MB more for them."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))
