from collections import Counter

import pytest

from chatbot.history import Lesson, LessonTurn
from data.formats.dialogue import Dialogue
from training.lessons import cleaned, of_conversation, of_log, read_logs


def said(speaker: str, text: str, rating: int = 0, better: str | None = None, retrieved: bool = False) -> LessonTurn:
    return LessonTurn(speaker, text, rating, better, retrieved)


def conversation(*turns: LessonTurn) -> Lesson:
    return Lesson("one", "anna", turns)


def test_an_approved_reply_is_learned_and_what_the_user_said_is_context():
    lesson = conversation(said("user", "Hi."), said("bot", "Hello!", 1), said("user", "Bye."), said("bot", "No."))
    (taught,) = of_conversation(lesson)
    assert taught.utterances == ("Hi.", "Hello!", "Bye.", "No.")
    assert taught.weights == (0, 1, 0, 0)
    assert taught.person == "anna"


def test_a_conversation_that_nobody_rated_teaches_nothing_unless_it_may():
    lesson = conversation(said("user", "Hi."), said("bot", "Hello!"))
    assert not list(of_conversation(lesson))
    (taught,) = of_conversation(lesson, unchecked=True)
    assert taught.weights == (0, 1)


def test_a_disliked_reply_is_learned_against():
    (taught,) = of_conversation(conversation(said("user", "Hi."), said("bot", "Go away.", -1)))
    assert taught.weights[1] < 0


def test_what_a_person_would_rather_have_read_is_learned_in_place_of_what_was_said():
    lesson = conversation(said("user", "Hi."), said("bot", "Go away.", -1, "Welcome!"), said("user", "Oh."))
    whole, better = of_conversation(lesson)
    assert whole.weights[1] < 0
    assert better.utterances == ("Hi.", "Welcome!")
    assert better.weights == (0, 1)


@pytest.mark.parametrize("unchecked", [True, False])
def test_what_was_retrieved_from_a_corpus_is_never_learned_even_where_it_is_liked(unchecked):
    lesson = conversation(said("user", "Hi."), said("bot", "Hello!", 1, retrieved=True))
    assert not list(of_conversation(lesson, unchecked))


@pytest.mark.parametrize("unchecked", [True, False])
@pytest.mark.parametrize(("rating", "better"), [(1, None), (0, None), (-1, None), (-1, "Do it."), (0, "Do it.")])
def test_of_a_fixed_answer_nothing_is_learned_whatever_people_thought_of_it(unchecked, rating, better):
    fixed = LessonTurn("bot", "Please talk to somebody.", rating, better, False, "suicide")
    assert not list(of_conversation(conversation(said("user", "I want to die."), fixed), unchecked))
    after = conversation(said("user", "I want to die."), fixed, said("user", "Hi."), said("bot", "Hello!", 1))
    [taught] = of_conversation(after, unchecked)
    assert taught.weights == (0, 0, 0, 1)


def test_of_a_log_the_assistant_is_learned_and_of_a_human_dialogue_everybody():
    log = Dialogue("1", "log", "log/1", ("Hi.", "Hello!", "Bye."), ("user", "assistant", "user"))
    assert of_log(log).weights == (0, 1, 0)
    assert of_log(Dialogue("1", "film", "film/1", ("Hi.", "Hello!"))).weights == (1, 1)


def test_a_response_with_personal_data_is_not_learned_and_nobody_s_is_kept_as_context():
    dropped: Counter[str] = Counter()
    log = Dialogue(
        "1", "log", "log/1", ("My mail is anna@example.org, ok?", "So it is anna@example.org."), ("user", "assistant")
    )
    (taught,) = cleaned(of_log(log), dropped)
    assert taught.weights == (0, 0)
    assert "example" not in " ".join(taught.utterances)
    assert dropped == {"personal data": 1}


def test_a_business_s_own_contact_is_learned_as_it_is_written_and_a_user_s_is_not():
    texts = (
        "I am ann@mail.example.",
        "Then write to <help@ferry.example>, or call 020 7946 0958.",
        "Call me at 020 7946 0111.",
        "We call 020 7946 0111.",
    )
    log = of_log(Dialogue("1", "log", "log/1", texts, ("user", "assistant") * 2))
    dropped: Counter[str] = Counter()
    (taught,) = cleaned(log, dropped, {"helpferryexample", "079460958"})
    assert taught.utterances[1] == "Then write to help@ferry.example, or call 020 7946 0958."
    assert taught.weights == (0, 1, 0, 0)
    assert "mail.example" not in taught.utterances[0]
    assert not any("0111" in text for text in taught.utterances)
    assert dropped == {"personal data": 1}


def test_what_people_said_to_this_bot_keeps_no_contact_whatever_a_log_gives_out():
    lesson = conversation(said("user", "Your number?"), said("bot", "Call 020 7946 0958 please.", 1))
    (taught,) = of_conversation(lesson)
    (left,) = cleaned(taught, Counter(), {"079460958"})
    assert left.weights == (0, 0)
    assert left.utterances[1] == "Call that number please."


def test_a_profane_response_is_not_learned():
    dropped: Counter[str] = Counter()
    log = Dialogue("1", "log", "log/1", ("Hello there.", "Fuck off, will you."), ("user", "assistant"))
    (taught,) = cleaned(of_log(log), dropped)
    assert taught.weights == (0, 0)
    assert dropped["profanity"] == 1


def test_an_unfit_utterance_breaks_a_dialogue_in_two_and_weights_stay_with_their_utterances():
    texts = ("Hi there.", "Hello, and welcome!", "Где находится магазин?", "What do you sell?", "We sell tea.")
    log = Dialogue("1", "log", "log/1", texts, ("user", "assistant", "user", "user", "assistant"))
    first, second = cleaned(of_log(log), Counter())
    assert (first.weights, second.weights) == ((0, 1), (0, 1))
    assert second.utterances[-1] == "We sell tea."


def test_the_first_line_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path):
    good = '{"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello!"}]}\n'
    (tmp_path / "logs.jsonl").write_text(good * 2 + "{broken\n" + good)
    dropped: Counter[str] = Counter()
    skipped: list[str] = []
    assert len(list(read_logs([tmp_path / "logs.jsonl"], dropped, skipped))) == 3
    assert sum(dropped.values()) == 1
    assert any("logs.jsonl" in one and "line 3" in one for one in skipped)
