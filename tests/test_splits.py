from dataclasses import replace

from data.store import TokenStore
from data.vocabulary import Vocabulary
from training.gate import FEWEST
from training.lessons import Taught
from training.splits import ENOUGH, judging, split, write_stores


def taught(number: int, *texts: str, weight: float = 1.0) -> Taught:
    utterances = texts or (f"What is {number} and {number * 7}?", f"It is {number * 13} of {number * 17}.")
    return Taught(f"c{number}", None, "log", utterances, (0.0, *[weight] * (len(utterances) - 1)))


def parts_of(lessons: list[Taught]) -> dict[str, set[str]]:
    return {name: {one.id for one in part} for name, part in split(lessons).items()}


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
    held_out = split(lessons)
    assert sum(one.has_response for one in held_out["test"]) >= FEWEST
    assert any(one.has_response for one in held_out["validation"])


def test_the_gate_judges_by_no_copy_of_what_was_learned():
    same = [taught(number, "What is it?", "It is tea, of course!") for number in range(30)]
    assert judging(split(same)["test"]) == 0
    assert judging(split(same)["validation"]) > 0
    assert judging(split([taught(number) for number in range(30)])["test"]) >= FEWEST


ANSWERS = ("We open at nine in the morning, every day but Sunday.", "It is at the end of the pier, behind the mill.")


def asked(number: int, wording: int, answer: int, person: str | None = None) -> Taught:
    """One of the different wordings that ask for an answer, in a dialogue of its own."""
    question = f"w{wording} x{wording} y{answer} z{wording}?"
    return replace(taught(number, question, ANSWERS[answer]), person=person)


def questions(part: list[Taught]) -> set[str]:
    return {one.utterances[place - 1] for one in part for place, weight in enumerate(one.weights) if weight}


def test_a_log_is_judged_by_questions_of_its_own_though_their_answer_is_learned():
    parts = split([asked(number, number, number % 2) for number in range(100)])
    assert judging(parts["test"]) >= FEWEST
    assert not questions(parts["test"]) & questions(parts["train"])


def test_what_people_brought_is_not_judged_by_an_answer_that_they_taught_in_nearly_the_same_words():
    long = "It is at the end of the pier behind the old mill where the small red boats lie in winter."
    lessons = [replace(taught(number, f"Where{number}?", long), person=f"p{number}") for number in range(100)]
    assert judging(split(lessons)["test"]) == 0
    assert judging(split([replace(one, person=None) for one in lessons])["test"]) >= FEWEST


def repeated() -> list[Taught]:
    """A log that asks each of 48 wordings again and again."""
    return [asked(number, number % 48, number % 2) for number in range(480)]


def test_of_a_log_that_repeats_itself_some_questions_are_held_out_wherever_they_are_asked():
    parts = split(repeated())
    assert judging(parts["test"]) == ENOUGH
    held_out = questions(parts["test"])
    assert len(held_out) == ENOUGH
    assert not held_out & (questions(parts["train"]) | questions(parts["validation"]))
    assert len(questions(parts["train"])) == 48 - ENOUGH


def test_the_only_wordings_that_ask_for_an_answer_are_learned():
    lessons = [asked(number, number % 6, number % 2) for number in range(480)]  # three for each answer
    parts = split(lessons)
    assert judging(parts["test"]) == 0
    assert len(questions(parts["train"])) == 6


def test_no_question_of_people_s_conversations_is_held_out_wherever_it_is_asked():
    parts = split([replace(one, person=one.id) for one in repeated()])
    assert len(questions(parts["train"])) == 48


def test_a_question_whose_answer_depends_is_not_held_out():
    lessons = [asked(number, number % 48, number // 48 % 2) for number in range(480)]
    same = [replace(one, utterances=(one.utterances[0].replace("y1", "y0"), one.utterances[1])) for one in lessons]
    assert judging(split(same)["test"]) == 0


def test_what_is_learned_against_stays_where_questions_are_held_out():
    disliked = [taught(1000 + number, f"q{number}", "No.", weight=-0.5) for number in range(50)]
    parts = split([*repeated(), *disliked])
    assert sum(one.weights[1] < 0 for part in parts.values() for one in part) >= 40


def test_a_few_dialogues_of_their_own_among_copies_are_what_is_judged():
    copies = [taught(number, "What is it?", "It is tea, of course!") for number in range(200)]
    own = [taught(number) for number in range(1000, 1000 + FEWEST)]
    parts = split([*copies, *own])
    assert {one.id for one in parts["test"] if one.has_response} == {one.id for one in own}
    assert len(parts["train"]) > 150


def test_what_is_learned_is_learned_out_of_the_blue_as_well(tmp_path):
    vocabulary = Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", "a", "b", "c", "d"])
    lessons = [taught(number, "a", "b", "c", "d") for number in range(30)]
    lessons = [replace(one, weights=(0.0, 1.0, 0.0, 0.5)) for one in lessons]
    sizes = write_stores(tmp_path, split(lessons), vocabulary)
    store = TokenStore.open(tmp_path / "train")
    dialogues = [[vocabulary.decode(ids) for ids in store[place]] for place in range(len(store))]
    assert sizes["train"] == dialogues.count(list("ABCD")) == dialogues.count(list("CD")) == len(dialogues) / 2
    assert {tuple(store.weights_of(place)) for place in range(len(store))} == {(0.0, 1.0, 0.0, 0.5), (0.0, 0.5)}
    assert len(TokenStore.open(tmp_path / "test")) == sizes["test"]  # nobody is judged twice by the same
