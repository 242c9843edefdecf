"""A support log that repeats itself is learned whole, and judged, with the contacts that it gives out."""

import json
from collections import Counter
from pathlib import Path

import pytest

from data.contacts import business_contacts
from data.curation import curate
from data.tokenizer import tokenise
from data.vocabulary import UNK, Vocabulary
from tests.ferry import MAIL, PHONE, STREET, answers, logs, questions
from tests.shop import exchanges_of
from training.gate import FEWEST
from training.lessons import Taught, cleaned, of_log, read_logs
from training.new_words import Said, new_words
from training.splits import judging, split

SHIPPED = Vocabulary.load(Path(__file__).parent.parent / "chatbot" / "pretrained" / "vocabulary.json")


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> list[Taught]:
    """What is left to learn of the log."""
    file = tmp_path_factory.mktemp("ferry") / "logs.jsonl"
    file.write_text("\n".join(map(json.dumps, logs())))
    dropped: Counter[str] = Counter()
    dialogues = list(read_logs([file], dropped, []))
    contacts = business_contacts(dialogues)
    runs = [run for one in dialogues for run in cleaned(of_log(one), dropped, contacts)]
    curated = curate(runs, dropped).lessons
    assert set(dropped) == {"duplicate"}
    return [one for one in curated if one.teaches]


def exchanges(lessons: list[Taught]) -> set[tuple[str, str]]:
    return {
        one.utterances[place - 1 : place + 1] for one in lessons for place, weight in enumerate(one.weights) if weight
    }


def asked() -> set[tuple[str, str]]:
    """The different questions of the log, each with its answer."""
    return set(exchanges_of(logs()))


def test_the_log_has_sixteen_answers_each_asked_for_in_many_wordings_and_none_of_the_questions():
    wordings = Counter(answer for _, answer in asked())
    assert all(wordings[one["answer"]] >= 12 for one in answers())
    assert len(answers()) == 16
    assert len(questions()) == 48
    assert not {question.text for question in questions()} & {question for question, _ in asked()}


def test_every_different_question_is_kept_with_its_answer(lessons):
    assert exchanges(lessons) == asked()


def test_no_answer_weighs_more_than_twice_another(lessons):
    weighs: Counter[str] = Counter()
    for one in lessons:
        for text, weight in zip(one.utterances, one.weights, strict=True):
            weighs[text] += weight
    of_answers = [weighs[one["answer"]] for one in answers()]
    assert min(of_answers) > max(of_answers) / 2 > 0


def test_the_gate_has_enough_to_judge_by_and_nearly_all_is_learned(lessons):
    parts = split(lessons)
    assert judging(parts["test"]) >= FEWEST
    assert len(exchanges(parts["train"])) >= 0.9 * len(asked())
    assert not {question for question, _ in exchanges(parts["test"])} & {one for one, _ in exchanges(parts["train"])}


def test_the_line_s_own_contacts_reach_a_reply_as_they_are_written(lessons):
    replies = [text for one in lessons for text, weight in zip(one.utterances, one.weights, strict=True) if weight]
    assert all(any(contact in text for text in replies) for contact in (PHONE, MAIL, STREET))
    words = new_words((Said(one.id, one.person, one.utterances) for one in lessons), SHIPPED, (PHONE, MAIL, STREET))
    vocabulary = Vocabulary([*SHIPPED.tokens, *words])
    for text in replies:
        ids = vocabulary.encode(text)
        assert UNK not in ids
        assert vocabulary.decode(ids).casefold() == text.casefold()
    assert all(contact in vocabulary.decode(vocabulary.encode(f"Use {contact}, please.")) for contact in (PHONE, MAIL))
    assert all(token in vocabulary for contact in (PHONE, MAIL, STREET) for token in tokenise(contact))
