"""However long a text is, and however often a sign comes in it, what is looked for in it costs no more than its length.

Where the steps of a pattern grow with the square of the length, a text of 50,000 characters takes it minutes: it is
given up long before.
"""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import regex

import data
from data.cleaning import MAX_CHARACTERS, in_sentence_case, normalise
from data.formats.order import seconds
from data.markup import without_markup
from data.preparation import fit_runs

LENGTH, GIVEN_UP = 50_000, 30
SIGNS = (
    "[", "(", "{", "<", "<a", "<!\n", "@", "a@", "a@a.", "1-", "-", "#", ".", " ",
    "\n", " \n", "\t", "a", "1", "*", "_", "> ",
    "##-a", "[name ", "user ", "On 1:11 a\n", "From: a\n", "<think>", "<|im_start|>system ", "<<SYS>>",
    "{\\p1", "m 1 1 l ",
    "1 Jan", "->", "a. ", "a:", "♪ ", "[TOOL_RESULTS]",
)  # fmt: skip
# Looked for in the beginning of a line, or in what is a few words long, wherever that is done.
SHORT = {
    "data.formats.cues": {
        "_SPACED_SIGN",
        "_MAY_BE_TIME",
        "_TIME_LINE",
        "_TIMES_AND_TEXT",
        "_BROKEN",
        "_BROKEN_AT_START",
    },
    "data.formats.order": {"_DATE"},
}
# Only ever matched from the first character on.
ANCHORED = {
    "data.cleaning": {"_FORMULA"},
    "data.formats.reader": {"_JSON", "_OTHER_SUBTITLES", "_PARLAI_NUMBERED"},
    "data.formats.tables": {"_BOOKKEEPING", "_EXCEL_SIGN"},
}


def patterns() -> Iterator[Any]:
    for module in pkgutil.walk_packages(data.__path__, "data."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, regex.Pattern) and name not in SHORT.get(module.name, ()):
                yield pytest.param(value, name not in ANCHORED.get(module.name, ()), id=f"{module.name}.{name}")


@pytest.mark.parametrize(("pattern", "is_searched"), list(patterns()))
def test_a_pattern_is_done_with_a_long_text(pattern: Any, is_searched: bool) -> None:
    look = partial(pattern.sub, "") if is_searched else pattern.match
    for sign in SIGNS:
        look(sign * (LENGTH // len(sign)) + "!", timeout=GIVEN_UP)


@pytest.mark.parametrize("sign", SIGNS)
def test_an_utterance_is_done_with_whatever_it_repeats(sign: str) -> None:
    text = sign * (MAX_CHARACTERS // len(sign))
    assert isinstance(normalise(without_markup(in_sentence_case(text))), str)
    assert list(fit_runs([text, text], Counter())) == []


def test_an_utterance_beyond_what_is_looked_at_is_left_out() -> None:
    dropped = Counter[str]()
    [run] = fit_runs(["Is it open?", "Yes, it is.", "<think>" + "x" * MAX_CHARACTERS + "</think>No."], dropped)
    assert [place for place, _ in run] == [0, 1]
    assert dropped["too long"] == dropped.total() == 1


def test_a_time_is_no_longer_than_a_time_can_be() -> None:
    assert seconds("1 " * LENGTH) is None
    assert seconds("1 Jan 2031" + " " * LENGTH) == seconds("1 Jan 2031")
