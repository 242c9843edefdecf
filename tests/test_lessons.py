from collections import Counter
from dataclasses import replace

import pytest

from chatbot.history import Lesson, LessonTurn
from data.formats.dialogue import Dialogue
from data.store import TokenStore
from data.vocabulary import Vocabulary
from training.gate import FEWEST
from training.lessons import Taught, _split, cleaned, of_conversation, of_log, read_logs, write_stores


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


def taught(number: int, *texts: str, weight: float = 1.0) -> Taught:
    utterances = texts or (f"What is {number} and {number * 7}?", f"It is {number * 13} of {number * 17}.")
    return Taught(f"c{number}", None, "log", utterances, (0.0, *[weight] * (len(utterances) - 1)))


def parts_of(lessons: list[Taught]) -> dict[str, set[str]]:
    return {name: {one.id for one in part} for name, part in _split(lessons).items()}


def test_what_was_learned_from_once_is_judged_by_never_however_many_conversations_come():
    lessons = [taught(number) for number in range(600)]
    learned: set[str] = set()
    for count in (20, 25, 50, 100, 300, 600):
        parts = parts_of(lessons[:count])
        assert len(parts["test"]) >= FEWEST
        assert parts["validation"]
        assert not learned & parts["test"]
        learned |= parts["train"]


def test_what_is_only_disliked_is_not_what_the_gate_has_too_few_of():
    lessons = [*(taught(number, weight=-0.5) for number in range(100)), *(taught(number) for number in range(100, 120))]
    held_out = _split(lessons)
    assert sum(one.has_response for one in held_out["test"]) >= FEWEST
    assert any(one.has_response for one in held_out["validation"])


def test_the_gate_judges_by_no_copy_of_what_was_learned(tmp_path):
    vocabulary = Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", "it", "is"])
    same = [taught(number, "What is it?", "It is tea, of course!") for number in range(30)]
    write_stores(tmp_path / "same", same, vocabulary)
    write_stores(tmp_path / "other", [taught(number) for number in range(30)], vocabulary)

    def judged(store: TokenStore) -> int:
        return sum(int((store.weights_of(place) > 0).sum()) for place in range(len(store)))

    assert judged(TokenStore.open(tmp_path / "same" / "test")) == 0
    assert judged(TokenStore.open(tmp_path / "same" / "validation")) > 0
    assert judged(TokenStore.open(tmp_path / "other" / "test")) >= FEWEST


def test_what_is_learned_is_learned_out_of_the_blue_as_well(tmp_path):
    vocabulary = Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", "a", "b", "c", "d"])
    lessons = [taught(number, "a", "b", "c", "d") for number in range(30)]
    lessons = [replace(one, weights=(0.0, 1.0, 0.0, 0.5)) for one in lessons]
    sizes = write_stores(tmp_path, lessons, vocabulary)
    store = TokenStore.open(tmp_path / "train")
    dialogues = [[vocabulary.decode(ids) for ids in store[place]] for place in range(len(store))]
    assert sizes["train"] == dialogues.count(list("ABCD")) == dialogues.count(list("CD")) == len(dialogues) / 2
    assert {tuple(store.weights_of(place)) for place in range(len(store))} == {(0.0, 1.0, 0.0, 0.5), (0.0, 0.5)}
    assert len(TokenStore.open(tmp_path / "test")) == sizes["test"]  # nobody is judged twice by the same
