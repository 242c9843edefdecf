"""What is said of replies by their words alone."""

import pytest

from training.measures import distinct, is_dull, is_repeat, most_frequent, unique_share


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
    assert distinct(replies, 1) == 2 / 5
    assert distinct(replies, 2) == 2 / 5  # a b and b a
    assert distinct([], 1) == 0


def test_unique_share_counts_replies_that_differ_in_more_than_punctuation():
    assert unique_share(["Yes.", "yes!", "No.", "Maybe"]) == 3 / 4
    assert unique_share([]) == 0


def test_the_most_frequent_reply_does_not_depend_on_the_order():
    assert most_frequent(["b", "a", "b", "c"]) == "b"
    assert most_frequent(["b", "a"]) == most_frequent(["a", "b"]) == "a"
