"""Which precision suits this processor, and how many threads beside others: `python -m benchmarks.precision`.

Takes training steps of a network of the shipped checkpoint's sizes on invented dialogues, in float32 and in bfloat16,
on one thread and on all, alone and while other processes keep every core busy. All are ratios to float32 on all threads
and alone; the choice of `chatbot.processor` is marked. `ONEDNN_MAX_CPU_ISA=AVX2` simulates a processor without AVX-512
and without instructions for bfloat16, as far as oneDNN takes the products.
"""

import argparse
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from chatbot.model import HRED, ModelConfig
from chatbot.processor import LOOK_SECONDS, FreeCores, Precision, autocast, fastest_precision, step_back
from data.batches import Batch, make_batch
from training.objective import Objective

_WORDS, _DIALOGUES, _TURNS, _TOKENS = 12_000, 8, 6, 12
_CORES = os.cpu_count() or 1
_SLOW = 20.0  # seconds after which a way is timed no further


def spin() -> None:
    while True:
        pass


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that would each keep a core to themselves."""
    spinning = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(processes)]
    for one in spinning:
        one.start()
    try:
        yield
    finally:
        for one in spinning:
            one.kill()


def invented_batch() -> Batch:
    random = np.random.default_rng(0)
    return make_batch(
        [[random.integers(4, _WORDS, _TOKENS).tolist() for _ in range(_TURNS)] for _ in range(_DIALOGUES)]
    )


def speed(model: HRED, batch: Batch, precision: Precision, steps: int) -> float:
    """Target tokens a second of the fastest step."""
    best, begin = 0.0, time.perf_counter()
    for _ in range(steps):
        started = time.perf_counter()
        with autocast(precision):
            Objective()(model, batch).total.backward()
        best = max(best, len(batch.targets) / (time.perf_counter() - started))
        if time.perf_counter() - begin > _SLOW:
            break
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    step_back()
    torch.manual_seed(0)
    model, batch = HRED(ModelConfig(_WORDS, encoder_size=384)), invented_batch()
    simulated = os.environ.get("ONEDNN_MAX_CPU_ISA", "its own")
    print(f"{platform.processor() or platform.machine()}, {_CORES} cores, instructions: {simulated}")
    print(f"chosen: {fastest_precision()}")
    first = 0.0
    for others in (0, _CORES):
        with busy(others):
            cores = FreeCores()
            time.sleep(LOOK_SECONDS + 0.1)
            cores.look()
            chosen = torch.get_num_threads()
            for precision in ("float32", "bfloat16"):
                for threads in sorted({_CORES, 1}, reverse=True):
                    torch.set_num_threads(threads)
                    found = speed(model, batch, precision, options.steps)
                    first = first or found
                    mark = "  <- chosen" if (precision, threads) == (fastest_precision(), chosen) else ""
                    beside = f"beside {others} busy processes" if others else "alone"
                    told = f"{found:8,.0f} tokens/s {found / first:7.3f}"
                    print(f"{precision:8} on {threads} threads, {beside:24} {told}{mark}", flush=True)


if __name__ == "__main__":
    main()
