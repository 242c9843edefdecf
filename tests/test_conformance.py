"""What `make test-conformance` makes of a run of the public suite, without running it."""

from tests.conformance.__main__ import KNOWN, REASONS, surprises

PASSED = ["Socket.IO protocol message should send a plain-text packet"]


def test_exactly_the_known_failures_are_no_surprise():
    assert list(surprises(PASSED, list(REASONS))) == []


def test_a_race_may_go_either_way():
    assert list(surprises([*PASSED, *KNOWN["races"]], list(KNOWN["fails"]))) == []


def test_a_test_that_fails_and_is_not_known_to_is_told():
    assert list(surprises([], [*PASSED, *REASONS])) == [f"fails, and should not: {PASSED[0]}"]


def test_a_known_failure_that_passes_or_is_not_run_is_told():
    first, second, *others = KNOWN["fails"]
    assert list(surprises([*PASSED, first], [*others, *KNOWN["races"]])) == [
        f"passes, so take it off the known failures: {first}",
        f"was not run: {second}",
    ]
