"""The shop's dialogues and questions are what a proof of learning needs: teachable, unseen, and not to be looked up."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from data.tokenizer import tokenise
from data.vocabulary import UNK, Vocabulary, fold
from tests.shop import exchanges, is_right, logs, nearest_neighbour, questions, talks
from training.new_words import MIN_COUNT, MIN_DIALOGUES

VOCABULARY = Vocabulary.load(Path(__file__).parent.parent / "chatbot" / "pretrained" / "vocabulary.json")


def utterances(dialogue: dict) -> list[str]:
    return [message["content"] for message in dialogue["messages"]]


def learnable() -> set[str]:
    """Tokens outside the shipped vocabulary that are said often enough to enter it."""
    counts: Counter[str] = Counter()
    dialogues: defaultdict[str, set[str]] = defaultdict(set)
    for dialogue in [*logs(), *talks()]:
        for token in (fold(token) for text in utterances(dialogue) for token in tokenise(text)):
            counts[token] += 1
            dialogues[token].add(dialogue["id"])
    return {token for token in counts if counts[token] >= MIN_COUNT and len(dialogues[token]) >= MIN_DIALOGUES}


def test_there_are_300_logs_100_talks_and_50_questions_each_once():
    assert [len(logs()), len(talks()), len(questions())] == [300, 100, 50]
    assert len({dialogue["id"] for dialogue in [*logs(), *talks()]}) == 400
    assert len({question.text.lower() for question in questions()}) == 50


@pytest.mark.parametrize(("dialogues", "longest"), [(logs(), 8), (talks(), 6)], ids=["logs", "talks"])
def test_visitor_and_shop_speak_in_turn(dialogues, longest):
    for dialogue in dialogues:
        roles = [message["role"] for message in dialogue["messages"]]
        assert 2 <= len(roles) <= longest
        assert roles == (["user", "assistant"] * 4)[: len(roles)]
        assert all(text.strip() for text in utterances(dialogue))


def test_every_talk_ends_with_a_reply_that_can_be_given_as_the_better_one():
    assert all(dialogue["messages"][-1]["role"] == "assistant" for dialogue in talks())


def test_no_question_occurs_among_what_was_taught():
    taught = {text.lower() for dialogue in [*logs(), *talks()] for text in utterances(dialogue)}
    assert not [question.text for question in questions() if question.text.lower() in taught]


def test_every_question_is_answered_by_some_taught_answers_of_one_fact_only():
    answers = Counter(answer for _, answer in exchanges())
    by_fact = {question.right: {text for text in answers if is_right(text, question)} for question in questions()}
    assert len(by_fact) >= 25
    assert all(sum(answers[text] for text in right) >= 10 for right in by_fact.values())
    assert sum(map(len, by_fact.values())) == len(set.union(*by_fact.values()))


def test_every_fact_is_asked_for_in_a_dozen_wordings_or_more():
    for question in questions():
        assert len({said.lower() for said, answer in exchanges() if is_right(answer, question)}) >= 12, question


def test_some_facts_are_told_in_the_talks_only():
    in_logs = {text for dialogue in logs() for text in utterances(dialogue)}
    rights = {question.right for question in questions() if not any(is_right(text, question) for text in in_logs)}
    assert len(rights) == 6


def test_a_look_up_by_shared_words_answers_fewer_than_60_percent():
    right = sum(is_right(nearest_neighbour(question.text, exchanges()), question) for question in questions())
    assert 0.4 <= right / 50 < 0.6


def test_every_word_of_a_question_and_of_a_right_answer_can_be_known():
    words = {
        fold(token) for question in questions() for text in (question.text, *question.right) for token in tokenise(text)
    }
    assert not [word for word in words - learnable() if VOCABULARY.id_of(word) == UNK]
