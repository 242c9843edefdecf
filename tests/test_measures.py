"""What is said of replies by their words alone."""

import numpy as np
import pytest

from training.measures import distinct, estimate, is_dull, is_repeat, most_frequent, unique_share


@pytest.mark.parametrize(
    "text",
    [
        "I don't know.",
        "i dont know",
        "Well, I do not know what you are talking about!",
        "I’m not sure, what about you?",
        "I am not sure what you mean.",
        "I have no idea",
        "You know what I am saying?",
    ],
)
def test_a_published_dull_phrase_is_found_however_it_is_written(text):
    assert is_dull(text)


@pytest.mark.parametrize("text", ["I know him.", "He has no idea.", "I do know.", "Know what? I don't!", ""])
def test_words_of_a_dull_phrase_in_another_order_are_not_dull(text):
    assert not is_dull(text)


def test_an_earlier_utterance_said_again_is_a_repeat_whatever_its_punctuation():
    context = ["Hello there!", "How are you, today?"]
    assert is_repeat("How are you today", context)
    assert not is_repeat("How are you?", context)


def test_three_words_said_twice_are_a_repeat_and_two_are_not():
    assert is_repeat("I like I like I like", [])
    assert is_repeat("It is a good film, it is a good one", [])
    assert not is_repeat("No, no, no", [])
    assert not is_repeat("I like music and I like films", [])


def test_distinct_counts_different_runs_over_tokens():
    replies = [["a", "b", "a"], ["a", "b"]]
    assert distinct(replies, 1) == pytest.approx(2 / 5)
    assert distinct(replies, 2) == pytest.approx(2 / 5)  # a b and b a
    assert distinct([], 1) == 0


def test_unique_share_counts_replies_that_differ_in_more_than_punctuation():
    assert unique_share(["Yes.", "yes!", "No.", "Maybe"]) == pytest.approx(3 / 4)
    assert unique_share([]) == 0


def test_the_most_frequent_reply_does_not_depend_on_the_order():
    assert most_frequent(["b", "a", "b", "c"]) == "b"
    assert most_frequent(["b", "a"]) == most_frequent(["a", "b"]) == "a"


def test_an_interval_is_as_wide_as_dialogues_differ_and_not_as_responses_do():
    alike = estimate([1, 0] * 50, np.ones(100), np.repeat(np.arange(50), 2))
    unlike = estimate([1, 1] * 25 + [0, 0] * 25, np.ones(100), np.repeat(np.arange(50), 2))
    assert alike == (0.5, (0.5, 0.5))
    assert unlike.value == 0.5
    assert unlike.interval[0] == pytest.approx(0.5 - 1.96 * 0.5 / 50**0.5, abs=0.03)
    assert unlike.interval[1] == pytest.approx(0.5 + 1.96 * 0.5 / 50**0.5, abs=0.03)


def test_an_estimate_weighs_dialogues_by_their_size_and_scales_at_the_end():
    nats, tokens = [np.log(2) * 3, np.log(8) * 1], [3, 1]
    assert estimate(nats, tokens, [7, 9], np.exp).value == pytest.approx(2 ** (6 / 4))


def test_one_dialogue_has_no_interval_and_none_no_figure():
    assert estimate([1, 0], [1, 1], [4, 4]) == (0.5, None)
    assert estimate([], [], []) is None
