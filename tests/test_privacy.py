import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.privacy import found_in, is_profane, masked, personal, without_personal


@pytest.mark.parametrize(
    ("text", "left", "kind"),
    [
        ("My email is ann.lee@example.co.uk, thanks", "My email is that address, thanks", "email"),
        ("Write to ann at example dot com", "Write to that address", "email"),
        ("See https://example.com/x?y=1 now", "See that page now", "url"),
        ("Try shop.example.com/apples", "Try that page", "url"),
        ("I am @john_smith there", "I am that name there", "handle"),
        ("It runs on 192.168.0.1.", "It runs on that address.", "ip"),
        ("Ping fe80::1 please", "Ping that address please", "ip"),
        ("Pay to GB82 WEST 1234 5698 7654 32", "Pay to that account", "iban"),
        ("My card is 4111 1111 1111 1111.", "My card is that number.", "card"),
        ("Card 4111-1111-1111-1111", "Card that number", "card"),
        ("Call me at (212) 555-0199 please", "Call me at that number please", "phone"),
        ("Call 07700 900123", "Call that number", "phone"),
        ("Tel. +49 30 901820", "Tel. that number", "phone"),
        ("My social security number is 078-05-1120", "My social security number is that number", "phone"),
        ("Order 20240501123 is late", "Order that number is late", "number"),
        ("I live at 12 Baker Street", "I live at that address", "address"),
        ("i live at 221b old baker street", "i live at that address", "address"),
        ("We met at 4 Privet Drive", "We met at that address", "address"),
        ("Ich wohne Hauptstraße 5", "Ich wohne that address", "address"),
        ("Send it to PO Box 123", "Send it to that address", "address"),
        ("London NW1 6XE", "London that address", "address"),
        ("Beverly Hills, CA 90210", "Beverly Hills, that address", "address"),
    ],
)
def test_personal_data_is_found_and_plain_words_stand_in_its_place(text: str, left: str, kind: str) -> None:
    assert masked(text) == (left, {kind: 1})


@pytest.mark.parametrize(
    "text",
    [
        "We open at 9:30 on Monday and close at 18.",
        "It costs 3.50 or 1,299.00 euros.",
        "I was born in 1984 and I am 40.",
        "It is 2 minutes down the street.",
        "We are 5 blocks down the road.",
        "There were 3 things in the way.",
        "On 2024-05-01 it was 12:45:10.",
        "Version 2.0.1 has 1,234,567 users.",
        "I am fine...really.Good",
        "Meet me at the dot.",
    ],
)
def test_times_prices_and_numbers_of_talk_are_not_personal(text: str) -> None:
    assert masked(text) == (text, {})


def test_each_datum_is_counted() -> None:
    assert personal("Mail a@b.org or c@d.org, or call 212-555-0199") == {"email": 2, "phone": 1}


@pytest.mark.parametrize(
    ("ways", "key"),
    [
        (["020 7946 0958", "(020) 7946-0958", "+44 20 7946 0958", "+44 (0)20 7946 0958"], "079460958"),
        (["help@ferry.example", "Help@Ferry.Example", "help at ferry dot example"], "helpferryexample"),
        (["https://www.ferry.com/a", "www.ferry.com/a", "ferry.com/a"], "ferrycoma"),
        (["14 Harbour Street", "14, harbour  street"], "14harbourstreet"),
    ],
)
def test_a_datum_has_one_key_however_it_is_written(ways: list[str], key: str) -> None:
    assert {datum.key for way in ways for datum in found_in(f"It is {way} now")} == {key}


def test_what_is_kept_stays_as_it_is_written_and_the_rest_is_masked() -> None:
    text = "Call (020) 7946-0958 or 020 7946 0111, mail help@ferry.com or ann@ferry.com."
    left = "Call (020) 7946-0958 or that number, mail help@ferry.com or that address."
    assert masked(text, {"079460958", "helpferrycom"}) == (left, {"phone": 1, "email": 1})


_DATA = ["a@b.org", "4111 1111 1111 1111", "212 555 0199", "12 Baker Street", "10.0.0.1", "GB82WEST12345698765432"]
_JOINS = [" ", "", ", ", "-", ".", ":", "1", "/", "@", "+"]


@given(st.lists(st.sampled_from(_DATA + _JOINS) | st.text(max_size=6), max_size=10).map("".join))
def test_nothing_that_was_masked_is_found_again(text: str) -> None:
    assert not personal(without_personal(text))


@given(st.lists(st.sampled_from([*_DATA, "Call", "or"]), max_size=6).map(" ".join))
def test_where_all_is_kept_nothing_changes(text: str) -> None:
    assert masked(text, {datum.key for datum in found_in(text)}) == (text, {})


@given(st.sampled_from(_DATA), st.text("abc ,.!?", max_size=10))
def test_no_digit_of_a_datum_is_left_after_a_space(datum: str, text: str) -> None:
    left = without_personal(f"{text} {datum} {text}")
    assert not any(map(str.isdigit, left))
    assert "@" not in left


@pytest.mark.parametrize(
    "text",
    ["What the fuck", "Shit!", "You assholes", "f*ck you", "s**t", "sh1t", "$hit", "fuuuuuck off", "f u c k", "b!tch"],
)
def test_profanity_is_known_in_its_usual_disguises(text: str) -> None:
    assert is_profane(text)


@pytest.mark.parametrize(
    "text",
    [
        *("I live in Scunthorpe.", "The class is in Essex.", "Hello!", "A cocktail, please.", "Moby and the grape"),
        *("She is a therapist", "A Samsung A55", "*smiles*", "Sooooo good!!!", "It is a 5 or a 6", "Good God, stupid!"),
        *("I am as i am", "Hey! what! +1", "My gay friends"),
    ],
)
def test_words_that_only_look_profane_are_not(text: str) -> None:
    assert not is_profane(text)


@given(st.text())
def test_any_text_can_be_judged(text: str) -> None:
    is_profane(text)
    masked(text)
