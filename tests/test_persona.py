"""What the chatbot is called, whatever the network calls it."""

import queue
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from chatbot.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from chatbot.choosing.responses import exchanges_of, save_responses
from chatbot.choosing.storing import save_chooser
from chatbot.engine import ChatEngine
from chatbot.persona import Persona, checked_name, renaming_for
from chatbot.reply import DEFAULT, GREEDY, DecodingConfig, Reply, ReplyRequest
from chatbot.shelf import SHIPPED
from data.tokenizer import detokenise
from data.vocabulary import Vocabulary
from tests.test_choosing import tiny_chooser, words_of
from tests.tiny_checkpoint import tiny_checkpoint, tiny_model


@pytest.fixture(scope="module")
def english() -> Vocabulary:
    return Vocabulary.load(SHIPPED / "vocabulary.json")


@pytest.mark.parametrize("name", ["Ada", "R2-D2", "O’Neil", "Ann Lee", "Zoë", "नमस्ते", "7th Robin", "x" * 30])
def test_what_somebody_may_be_called_is_a_name(name: str) -> None:
    assert checked_name(f" {name} ") == name


@pytest.mark.parametrize(
    "name", ["", "  ", "<b>", "a&b", "42", "-Ada", "Ada_", "Ada\nLee", "Ada\u202e", "Ada\u00a0Lee", "{name}", "x" * 31]
)
def test_what_nobody_is_called_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(ValueError, match="a name has 1 to 30 letters, digits, spaces, hyphens and apostrophes"):
        checked_name(name)


def heard(vocabulary: Vocabulary, name: str, *said: str) -> list[str]:
    """What the network reads of a dialogue."""
    request = ReplyRequest(said[-1], said[:-1])
    to_network = renaming_for(name, request, vocabulary).to_network(request)
    return [*to_network.context, to_network.utterance]


def told(vocabulary: Vocabulary, name: str, reply: str, *said: str) -> str:
    """What people read of a reply of the network in a dialogue."""
    return renaming_for(name, ReplyRequest(said[-1], said[:-1]), vocabulary).to_people(reply)


@pytest.mark.parametrize(
    ("name", "said", "read"),
    [
        ("Mia", "hi mia, is Mia's name MIA?", "hi Robin, is Robin's name Robin?"),
        ("Mia", "Miami has mias", "Miami has mias"),
        ("O'Neil", "hello o’neil!", "hello Robin!"),
        ("Robo 3000", "robo  3000, are you there?", "Robin, are you there?"),
        ("Zoë", "hi zoe\u0308", "hi Robin"),
        ("Robin Junior", "hi robin junior", "hi Robin"),
        ("Dear Friend", "is your name dear friend?", "is your name Robin?"),
        ("ROBIN", "hi robin", "hi Robin"),
    ],
)
def test_the_network_reads_its_own_name_for_that_of_the_chatbot(
    english: Vocabulary, name: str, said: str, read: str
) -> None:
    assert heard(english, name, said) == [read]


@pytest.mark.parametrize(
    ("name", "said", "read"),
    [
        ("Will", "Will you come? I will.", "Will you come? I will."),
        ("Will", "hi will", "hi Robin"),
        ("Will", "Will, are you Will?", "Robin, are you Robin?"),
        ("Sunny", "it is sunny today, thanks sunny!", "it is sunny today, thanks Robin!"),
        ("Rose", "I gave her a rose. Thanks, rose.", "I gave her a rose. Thanks, Robin."),
    ],
)
def test_a_name_that_is_a_word_too_is_a_name_only_where_it_is_meant(
    english: Vocabulary, name: str, said: str, read: str
) -> None:
    assert heard(english, name, said) == [read]


def test_the_chatbot_says_its_name_of_itself(english: Vocabulary) -> None:
    assert told(english, "Mia", "I'm Robin. Robin's my name!", "who are you") == "I'm Mia. Mia's my name!"


@pytest.mark.parametrize("said", ["My name is Robin.", "hi mia, i'm robin", "ROBIN here"])
def test_a_person_called_robin_is_not_renamed(english: Vocabulary, said: str) -> None:
    dialogue = (said, "Nice to meet you, Robin!", "and what are you called?")
    first, second, _ = heard(english, "Mia", *dialogue)
    assert "Alex" in first
    assert second == "Nice to meet you, Alex!"
    assert told(english, "Mia", "I'm Robin, Alex.", *dialogue) == "I'm Mia, Robin."


def test_another_robin_has_a_name_that_nobody_has_in_the_dialogue(english: Vocabulary) -> None:
    dialogue = ("My brothers are Alex and Sam.", "Nice!", "And I'm Robin.")
    assert heard(english, "Mia", *dialogue)[-1] == "And I'm Chris."
    assert told(english, "Mia", "Hello Chris. How is Alex?", *dialogue) == "Hello Robin. How is Alex?"
    assert told(english, "Mia", "Do you like Chris?", "hello") == "Do you like Chris?"


def test_a_bird_is_not_renamed(english: Vocabulary) -> None:
    assert heard(english, "Mia", "A robin! The little robin sings.") == ["A robin! The little robin sings."]
    assert told(english, "Mia", "Like a Robin.", "hello") == "Like a Robin."


def test_a_reply_only_grows_at_its_end_while_it_is_streamed(english: Vocabulary) -> None:
    renaming = renaming_for("Mia", ReplyRequest("I'm Robin"), english)
    tokens = ["I'm", "Robin", "￭s", "￭,", "no", "Robin", "￭!", "Alex", "￭'s", "a", "Robin"]
    shown = [renaming.to_people(detokenise(tokens[:end]), is_whole=False) for end in range(len(tokens))]
    whole = renaming.to_people(detokenise(tokens))
    assert whole == "I'm Robins, no Mia! Robin's a Robin"
    assert all(later.startswith(before) for before, later in pairwise([*shown, whole]))


# In the engine, which every channel asks


@pytest.fixture
def robin(tmp_path: Path) -> Checkpoint:
    """A checkpoint with responses of a chatbot called Robin, to two utterances that differ by that name alone."""
    said = ("hello Robin", "and so says Robin", "hello nobody", "and so says nobody")
    vocabulary = words_of(*said, "hello music")
    network = tiny_model(len(vocabulary))
    folder = save_checkpoint(tmp_path / "robin", network, vocabulary, {"validation": {"perplexity": 99.0}}).folder
    save_chooser(folder, tiny_chooser(len(vocabulary)))
    dialogues = [[tuple(vocabulary.encode(text)) for text in said[place : place + 2]] for place in (0, 2)]
    save_responses(folder, exchanges_of(dialogues, vocabulary))
    return load_checkpoint(folder)


@pytest.fixture
def mia(robin: Checkpoint) -> Iterator[ChatEngine]:
    decoding = replace(DEFAULT, candidates=2, written=1, retrieved=0, max_tokens=6)
    with ChatEngine(robin, decoding, persona=Persona("Mia")) as engine:
        yield engine


def test_the_engine_reads_and_says_the_name(mia: ChatEngine) -> None:
    reply = mia.reply(ReplyRequest("hello Mia", seed=1))
    written = [one.text for one in reply.candidates if one.source == "written"]
    assert written == ["And so says Mia"]
    assert not any("Robin" in one.text for one in reply.candidates)
    assert reply.text == reply.candidates[0].text


def test_what_is_streamed_is_the_reply(mia: ChatEngine) -> None:
    decoding = DecodingConfig(method="sample", max_tokens=12)
    replies = []
    for seed in range(20):
        pieces: queue.SimpleQueue[str | Reply] = queue.SimpleQueue()
        mia.submit(ReplyRequest("hello Mia", seed=seed, decoding=decoding), pieces.put, pieces.put)
        streamed = ""
        while isinstance(piece := pieces.get(timeout=60), str):
            streamed += piece
        assert streamed == piece.text
        replies.append(piece.text)
    assert any("Mia" in text for text in replies)
    assert not any("Robin" in text for text in replies)


def test_a_drawn_beam_has_the_name(mia: ChatEngine) -> None:
    decoding = DecodingConfig(method="beam", beam_size=12, max_tokens=3)
    tree = mia.reply(ReplyRequest("hello", decoding=decoding, is_trial=True)).tree
    assert tree is not None
    words = {word.word for word in tree.children}
    assert "Mia" in words
    assert "Robin" not in words


def test_a_checkpoint_without_these_conversations_is_not_translated(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    asked = ReplyRequest("Hello there")
    with ChatEngine(checkpoint, GREEDY, persona=Persona("Hello")) as named, ChatEngine(checkpoint, GREEDY) as robin:
        assert named.reply(asked) == robin.reply(asked)


def test_fixed_answers_name_the_chatbot(mia: ChatEngine) -> None:
    reply = mia.reply(ReplyRequest("Are you human?"))
    assert reply.guarded == "human"
    assert "called Mia" in reply.text
