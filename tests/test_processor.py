import multiprocessing
import os
import subprocess
import sys
import time

import pytest
import torch

from chatbot import processor
from chatbot.processor import FreeCores, autocast, chosen, fastest_precision, threads_beside


@pytest.mark.parametrize("slow", ["bfloat16", "float32"])
def test_the_precision_that_takes_longer_is_not_chosen(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_seconds", lambda precision: 100.0 if precision == slow else 1.0)
    fastest_precision.cache_clear()
    assert {fastest_precision(), slow} == {"bfloat16", "float32"}
    fastest_precision.cache_clear()


def test_a_precision_that_is_named_is_taken_and_auto_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (chosen("bfloat16"), chosen("float32")) == ("bfloat16", "float32")
    measured = chosen("auto")
    monkeypatch.setattr(processor, "_seconds", lambda precision: pytest.fail("It is measured again."))
    assert chosen("auto") == measured


@pytest.mark.parametrize(("precision", "kind"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_products_are_taken_in_the_precision(precision: str, kind: torch.dtype) -> None:
    with autocast(precision):
        assert torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).dtype == kind


@pytest.mark.parametrize(
    ("used", "cores", "threads"),
    [(0.0, 2, 2), (0.4, 2, 2), (0.6, 2, 1), (2.0, 2, 1), (5.0, 2, 1), (3.2, 8, 5), (-0.1, 4, 4), (0.0, 1, 1)],
)
def test_threads_are_those_that_others_leave_room_for(used: float, cores: int, threads: int) -> None:
    assert threads_beside(used, cores) == threads


def spin() -> None:
    while True:
        pass


def test_what_other_processes_use_is_seen_and_what_this_one_uses_is_not() -> None:
    cores = FreeCores()
    other = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    other.start()
    try:
        before, own, begin = cores._busy_seconds(), time.process_time(), time.monotonic()
        while time.process_time() - own < 0.5 or cores._busy_seconds() - before < 0.2:
            assert time.monotonic() - begin < 60, "What the other process uses is not seen."
        used = cores._busy_seconds() - before
        there_was = (time.monotonic() - begin) * (os.cpu_count() or 1)
        assert used + time.process_time() - own < there_was + 0.3
    finally:
        other.kill()
        other.join()


def test_a_look_sets_the_threads_and_looks_again_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    cores = FreeCores()
    cores._most = 4
    monkeypatch.setattr(processor, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(cores, "_busy_seconds", lambda: cores._busy + 1e9)  # as if everything were taken
    try:
        cores.look()
        assert torch.get_num_threads() == 1
        monkeypatch.setattr(processor, "LOOK_SECONDS", 1e9)
        torch.set_num_threads(3)
        cores.look()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_stepping_back_gives_others_the_way_and_never_raises_a_priority() -> None:
    script = (
        "import os; from chatbot.processor import step_back; step_back(); print(os.getpriority(os.PRIO_PROCESS, 0))\n"
        "os.setpriority(os.PRIO_PROCESS, 0, 15); step_back(); print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert found.stdout.split() == [str(max(5, usual)), str(max(15, usual))]
