import pytest

from data.cleaning import fault
from data.tokenizer import tokenise
from data.vocabulary import Vocabulary

PLACEHOLDERS = [
    "My name is user 2.",
    "Hi User 1, I'm user #2!",
    "Nice to meet you, speaker 2.",
    "It's user2 again.",
    "(user 2 name)",
    "Hi, I'm (name).",
    "Thank you (your name)!",
    "Hi [name], how are you?",
    "I'm [user 2's name].",
    "I live in [city].",
    "[your name]",
    "Hello {name}!",
    "Hello {{name}}!",
    "Dear <name>,",
    "My name is ____.",
]
CALLED_USER = ["My name is user.", "I'm user!", "Nice to meet you, User.", "Nice to meet you, name.", "Hello, name!"]
CUT_OFF = [
    "Guardians of the galaxy Vol.",
    "I love Guardians of the galaxy vol",
    "Thank you, Mr.",
    "I saw Dr!",
    "Batman vs.",
    "And then I met Mrs. ...",
    "My name is.",
    "Yes. My name is, and you?",
]
SPEECH = [
    "Guardians of the galaxy Vol. 2.",
    "Thank you, Mr. Smith.",
    "It is on the 1st.",
    "Who is this person?",
    "I am a user of both.",
    "Is the user happy?",
    "We were 2.",
    "I like it (a lot).",
    "My name is Anna.",
    "What is your name?",
    "Thank you, name it as you like.",
    "I <3 you.",
    "No.",
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.from_counts(
        {token: 1 for text in PLACEHOLDERS + CALLED_USER + CUT_OFF + SPEECH for token in tokenise(text)}, 999
    )


@pytest.mark.parametrize("text", PLACEHOLDERS + CALLED_USER + CUT_OFF)
def test_placeholders_and_cut_off_abbreviations_spoil_an_utterance(text: str, vocabulary: Vocabulary) -> None:
    assert vocabulary.speech().spoils(vocabulary.encode(text))


@pytest.mark.parametrize("text", SPEECH)
def test_what_people_say_is_not_debris(text: str, vocabulary: Vocabulary) -> None:
    assert not vocabulary.speech().spoils(vocabulary.encode(text))


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_nothing_is_learned_from_an_utterance_with_a_placeholder(text: str) -> None:
    assert fault(text, len(tokenise(text))) == "placeholder"
