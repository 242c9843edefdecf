from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from math import isclose, sqrt

from hypothesis import given
from hypothesis import strategies as st

from data.curation import LIKE, Caps, NearCopies, are_own, curate, kinds, pairs_of

INSULT = "You are a silly old goat."


@dataclass(frozen=True, slots=True)
class Taught:
    id: str
    person: str | None
    utterances: tuple[str, ...]
    weights: tuple[float, ...]


def example(before: str, response: str, person: str | None = None, weight: float = 1.0) -> Taught:
    return Taught(f"{person}/{before}", person, (before, response), (0.0, weight))


def kept(examples: Sequence[Taught], caps: Caps | None = None) -> tuple[list[Taught], Counter[str]]:
    """The examples that are still learned, each as it was before, and what was dropped."""
    dropped: Counter[str] = Counter()
    curated = curate(examples, dropped, caps)
    return [one for one, left in zip(examples, curated.lessons, strict=True) if left.weights[1]], dropped


def different(number: int) -> str:
    """An utterance that is no near copy of another number's."""
    return " ".join(sha256(str(number).encode()).hexdigest()[:24:2])


OTHERS = [example(different(number), f"It is {different(number)}", f"u{number % 9}") for number in range(100)]


def test_500_copies_of_an_insult_from_one_user_leave_none() -> None:
    attack = [example("Hi", INSULT, "mallory") for _ in range(500)]
    left, dropped = kept([*attack, *OTHERS])
    assert left == OTHERS
    assert dropped == {"flood": 500}


def test_500_copies_of_an_insult_from_500_users_in_500_contexts_leave_none() -> None:
    noises = ["{}", "{}!!!", "oh {}", "{} ok", "Well, {}"]
    attack = [
        example(different(number), noises[number % 5].format(INSULT.lower()), f"m{number}") for number in range(500)
    ]
    left, dropped = kept([*OTHERS, *attack])
    assert left == OTHERS
    assert dropped == {"flood": 500}


def test_a_flood_whose_copies_differ_in_a_word_leaves_none_and_a_family_of_true_answers_stays() -> None:
    words = ["stupid", "silly", "dumb", "lazy", "ugly", "mean", "old"]
    attack = [
        example(different(number), pattern.format(words[number % 7]), f"m{number}")
        for number in range(150)
        for pattern in ("You are {}.", "you are such a {} goat!")
    ]
    prices = [
        example(f"What is a {different(n)}?", f"The {different(n)} lamp costs {n} dollars.", "ann") for n in range(45)
    ]
    left, dropped = kept([*attack, *prices])
    assert left == prices
    assert dropped == {"flood": 300}


def test_a_flood_of_dislike_cannot_unteach_a_reply() -> None:
    attack = [example("Hi", "Welcome to our little shop!", f"m{number}", -0.5) for number in range(500)]
    liked = example("Hi", "Welcome to our little shop!", "ann")
    assert kept([*attack, liked])[0] == [liked]


def test_common_courtesies_are_capped_and_do_not_vanish() -> None:
    thanks = [example(different(number), "You're welcome!", f"u{number}") for number in range(500)]
    left, dropped = kept(thanks)
    assert left == thanks[: Caps().wording]
    assert dropped == {"said too often": 500 - Caps().wording}


def test_a_trusted_log_answers_every_different_question_and_copies_of_one_are_capped() -> None:
    often = [example("When do you open?", "We open at nine.") for _ in range(100)]
    nearly = [example("When do you open, please?", "We open at nine.")]
    otherwise = [example(different(number), "We open at nine!") for number in range(200)]
    left, dropped = kept([*often, *nearly, *otherwise])
    assert left == [*often[:3], *nearly, *otherwise]
    assert dropped == {"duplicate": 97}


def test_answers_of_a_trusted_log_weigh_by_the_square_root_of_how_often_they_are_given() -> None:
    often = [example(different(number), "We open at nine.") for number in range(120)]
    seldom = [example(different(number), "The harbour has a lift.") for number in range(30)]
    lessons = curate([*often, *seldom], Counter()).lessons
    assert all(isclose(one.weights[1], sqrt(30 / 120)) for one in lessons[:120])
    assert {one.weights[1] for one in lessons[120:]} == {1.0}


def test_what_a_trusted_log_says_takes_no_room_from_what_people_brought_and_gives_them_none() -> None:
    log = [example(different(number), "We open at nine.") for number in range(100)]
    people = [example(different(number), "We open at nine.", f"u{number}") for number in range(100, 145)]
    left, dropped = kept([*log, *people])
    assert left == [*log, *people[:30]]
    assert dropped == {"said too often": 15}


def test_one_user_teaches_so_much_and_no_more() -> None:
    mine = [example(different(number), f"And {different(number + 1000)}", "ann") for number in range(30)]
    left, dropped = kept([*mine, *OTHERS], Caps(user=20))
    assert left == [*mine[:20], *OTHERS]
    assert dropped == {"too much of one user": 10}
    unknown = [example(*one.utterances) for one in mine]
    assert kept(unknown, Caps(user=20))[0] == unknown


@given(
    st.lists(
        st.builds(
            example,
            st.sampled_from(["Hi", "Hello?", "When?", "Where is it then?"]),
            st.sampled_from(["Yes.", "No", "no", "At nine o'clock in the morning", "At nine o'clock in the mornings"]),
            st.sampled_from([None, "ann", "ben"]),
            st.sampled_from([1.0, -0.5]),
        ),
        max_size=60,
    )
)
def test_capping_keeps_the_order_counts_every_drop_and_stays_within_its_caps(examples: list[Taught]) -> None:
    caps = Caps(pair=2, wording=4, flood=9, user=8)
    left, dropped = kept(examples, caps)
    remaining = iter(examples)
    assert all(any(one is other for other in remaining) for one in left)
    assert len(left) + dropped.total() == len(examples)
    assert (left, dropped) == kept(examples, caps)
    pairs = Counter((one.utterances[0], one.utterances[1].lower(), one.weights, one.person is None) for one in left)
    assert all(count <= 2 for count in pairs.values())
    assert all(count <= 8 for person, count in Counter(one.person for one in left).items() if person)


def test_near_copies_are_found_whatever_their_case_and_signs() -> None:
    copies = NearCopies(["The shop opens at nine on every day but Sunday.", "Yes", "..."])
    assert copies.holds("the shop opens at nine, on every day but sunday")
    assert copies.holds("Well, the shop opens at nine on every day but Sunday!")
    assert copies.holds("yes!")
    assert copies.holds("...")
    assert not copies.holds("The shop opens at ten on each day except Monday.")
    assert not copies.holds("Yesterday")
    assert not copies.holds("")


def likeness(one: str, other: str) -> float:
    def shingles(text: str) -> set[str]:
        words = text.split()
        return {*words, *map(" ".join, pairwise(words))}

    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


_TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=12).map(" ".join)


@given(st.lists(_TEXTS, max_size=8), _TEXTS)
def test_near_copies_are_those_that_a_plain_comparison_finds(texts: list[str], text: str) -> None:
    assert NearCopies(texts).holds(text) == any(likeness(text, other) >= LIKE for other in texts)


@given(st.lists(st.tuples(_TEXTS, st.sampled_from("xyz")), max_size=8))
def test_a_text_is_its_owner_s_own_where_no_near_copy_is_another_s(texts: list[tuple[str, str]]) -> None:
    expected = [all(other == owner for copy, other in texts if likeness(text, copy) >= LIKE) for text, owner in texts]
    assert are_own([text for text, _ in texts], [owner for _, owner in texts]) == expected


def test_near_copies_are_of_one_kind() -> None:
    first, again, other = kinds(["The shop opens at nine every day.", "the shop opens at nine, every day!", "Where?"])
    assert first == again != other


def test_pairs_near_the_validation_set_are_left_out_and_their_parts_are_not() -> None:
    held_out = NearCopies(pairs_of(("When does the shop open?", "It opens at nine.", "Thanks!")))
    dropped: Counter[str] = Counter()
    copy = example("When does the shop open", "it opens at nine")
    others = [example("When does the shop open?", "At ten."), example("And today?", "It opens at nine.")]
    lessons = curate([copy, *others], dropped, held_out=held_out).lessons
    assert [one.weights[1] for one in lessons] == [0.0, 1.0, 1.0]
    assert dropped == {"copy of the validation set": 1}


def test_what_may_not_be_learned_of_a_dialogue_is_context() -> None:
    attack = [Taught(f"m{n}", f"m{n}", ("Hi", INSULT, "Oh", "Yes?"), (0.0, 1.0, 0.0, 0.0)) for n in range(500)]
    fair = Taught("a", "ann", ("Hi", "Hello Ann", "Open?", "Until six today"), (0.0, 1.0, 0.0, 1.0))
    dropped: Counter[str] = Counter()
    held_out = NearCopies(pairs_of(("Open?", "Until six today")))
    curated = curate([*attack, fair], dropped, held_out=held_out)
    assert {one.weights for one in curated.lessons[:500]} == {(0.0,) * 4}
    assert curated.lessons[500].weights == (0.0, 1.0, 0.0, 0.0)
    assert [one.utterances for one in curated.lessons] == [one.utterances for one in (*attack, fair)]
    assert curated.forbidden == [{"context": ["Hi"], "response": INSULT}]
    assert dropped == {"flood": 500, "copy of the validation set": 1}


def test_what_a_trusted_log_teaches_is_not_forbidden_however_many_people_bring_it() -> None:
    people = [Taught(f"p{n}", f"p{n}", (different(n), "We open at nine."), (0.0, 1.0)) for n in range(60)]
    log = Taught("log/1", None, ("When do you open?", "We open at nine!"), (0.0, 1.0))
    dropped: Counter[str] = Counter()
    curated = curate([*people, log], dropped)
    assert dropped == {"flood": 60}
    assert curated.lessons[-1].weights == (0.0, 1.0)
    assert curated.forbidden == []
