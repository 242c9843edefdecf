import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.cleaning import MAX_TOKENS, fault, in_sentence_case, normalise


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        ("It’s  “fine”…", 'It\'s "fine"...'),
        ("Tom &amp; Jerry &quot;run&quot;", 'Tom & Jerry "run"'),
        ("a <u>ho</u>tel<br>room", "a hotel room"),
        ("a public break- up", "a public break-up"),
        ("first- and second-born", "first- and second-born"),
        ("I do n't know , really .", "I don't know, really."),
        ("don ’ t", "don't"),
        ("im sure you dont, i cant", "I'm sure you don't, I can't"),
        ("l'll go", "I'll go"),
        ("so good!!!!!!!!", "so good!!!"),
        ("nooooooo", "nooo"),
        ("Wait.What", "Wait. What"),
        ("yes,no", "yes, no"),
        ("e.g. at 10:30 for 3.50, in the U.S.A. now", "e.g. at 10:30 for 3.50, in the U.S.A. now"),
        ("GET OUT OF HERE. NOW", "Get out of here. Now"),
        ("OK", "OK"),
        ("rock 'n' roll", "rock 'n' roll"),
    ],
)
def test_slips_of_typing_and_scanning_are_mended(raw: str, mended: str) -> None:
    assert normalise(raw) == mended


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("...", "no words"),
        ("{}", "no words"),
        ("see www.example.org for it", "address or link"),
        ("write to me@example.org", "address or link"),
        ("Hi, I'm [User 1's name].", "placeholder"),
        ("Hi, I'm (name).", "placeholder"),
        ("(User 2) I like it.", "placeholder"),
        ("I will tell PERSON1 about it", "placeholder"),
        ("caf\ufffd au lait", "garbled"),
        ("Ã© quoi", "garbled"),
        ("я не знаю", "not English"),
        ("je ne sais pas ce que vous voulez dire mon ami", "not English"),
        ("Half an emoji \ud83d here.", "garbled"),
        ("Yes.", None),
        ("She is a nice person.", None),
        ("No way, José!", None),
        ("It's a French sci-fi film directed by Jean-Luc Godard.", None),
    ],
)
def test_an_unfit_utterance_is_told_by_its_reason(text: str, reason: str | None) -> None:
    assert fault(text, tokens=9) == reason


def test_a_speech_is_too_long() -> None:
    assert fault("Yes.", MAX_TOKENS) is None
    assert fault("Yes.", MAX_TOKENS + 1) == "too long"


def test_sentence_case_keeps_the_word_i() -> None:
    assert in_sentence_case("WHO AM I? I AM BOB") == "Who am I? I am bob"


@given(st.text())
def test_any_text_can_be_normalised_and_judged(text: str) -> None:
    mended = normalise(text)
    assert mended == " ".join(mended.split())
    fault(mended, 1)


@given(st.lists(st.sampled_from(["I", "am", "not", "here", "Wait", "home"]), min_size=1, max_size=12))
def test_plain_english_is_left_as_it_is(words: list[str]) -> None:
    assert normalise(" ".join(words) + ".") == " ".join(words) + "."
