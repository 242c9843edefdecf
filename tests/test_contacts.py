import pytest

from data.contacts import MOST, business_contacts, without_brackets
from data.formats.dialogue import Dialogue

PHONE = "079460958"


def dialogue(*texts: str, roles: tuple[str, ...] | None = ("user", "assistant")) -> Dialogue:
    said_by = None if roles is None else (roles * len(texts))[: len(texts)]
    return Dialogue("x", "x", "x", texts, said_by)


def given(count: int, contact: str = "020 7946 0958") -> list[Dialogue]:
    return [dialogue(f"Question {number}?", f"Please use {contact}.") for number in range(count)]


@pytest.mark.parametrize(
    ("contact", "key"),
    [
        ("020 7946 0958", PHONE),
        ("help@ferry.example", "helpferryexample"),
        ("www.ferry.example/times", "ferryexampletimes"),
        ("@ferryline", "ferryline"),
        ("14 Harbour Street", "14harbourstreet"),
    ],
)
def test_what_an_assistant_gives_out_in_several_dialogues_is_its_business_s(contact: str, key: str) -> None:
    assert business_contacts(given(3, contact)) == {key}
    assert business_contacts(given(2, contact)) == set()
    assert business_contacts(given(1, contact), fewest=1) == {key}


def test_a_contact_is_one_however_it_is_written() -> None:
    ways = ["020 7946 0958", "(020) 7946-0958", "+44 20 7946 0958"]
    assert business_contacts(dialogue("Hi?", f"Call {way} please.") for way in ways) == {PHONE}


def test_twice_in_one_dialogue_is_one_dialogue() -> None:
    assert business_contacts([dialogue(*["Where?", "Call 020 7946 0958."] * 5)]) == set()


def test_what_any_user_said_first_is_never_given_out() -> None:
    theirs = dialogue("I am at +44 20 7946 0958.", "Thanks, we will call 020 7946 0958.")
    assert business_contacts([*given(9), theirs]) == set()
    assert business_contacts([theirs, *given(9)], fewest=1) == set()


def test_a_user_may_repeat_what_the_assistant_says_in_other_dialogues_as_well() -> None:
    repeats = dialogue("Hi?", "Call 020 7946 0958.", "So 020 7946 0958?", "Yes.")
    assert business_contacts([*given(2), repeats]) == {PHONE}
    assert business_contacts([repeats], fewest=1) == set()
    assert business_contacts([*given(1), repeats], fewest=1) == {PHONE}


def test_where_nobody_is_known_as_the_assistant_no_contact_is_a_business_s() -> None:
    people = [dialogue("Hi?", "Call 020 7946 0958.", roles=None)] * 9
    assert business_contacts(people, fewest=1) == set()


@pytest.mark.parametrize("number", ["4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32", "192.168.0.1"])
def test_numbers_by_which_nobody_is_reached_are_no_contacts(number: str) -> None:
    assert business_contacts(given(9, number)) == set()


def test_of_very_many_contacts_the_most_frequent_are_kept() -> None:
    some = [one for number in range(MOST + 50) for one in given(3, f"desk{number}x@ferry.example")]
    found = business_contacts([*some, *given(5)])
    assert len(found) == MOST
    assert PHONE in found


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Desk <help@ferry.example>", "Desk help@ferry.example"),
        ("<mailto:help@ferry.example>", "help@ferry.example"),
        ("<tel:+44 20 7946 0958>", "+44 20 7946 0958"),
        ("<https://ferry.example/a>", "https://ferry.example/a"),
        ("<b>Hi</b> 1 < 2 > 0", "<b>Hi</b> 1 < 2 > 0"),
    ],
)
def test_a_contact_in_brackets_is_no_tag(text: str, bare: str) -> None:
    assert without_brackets(text) == bare
