"""Responses that were written for the chatbot, plain replies, and the facts put into them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file

from chatbot.checkpoint import load_checkpoint
from chatbot.choosing.facts import Facts
from chatbot.choosing.network import ask
from chatbot.choosing.plain import PLAIN, PlainReplies
from chatbot.choosing.responses import RESPONSES, Exchange, OwnResponses, exchanges_of, load_responses, save_responses
from chatbot.shelf import CheckpointError
from data.cleaning import normalise
from data.vocabulary import SPECIALS, UNK, Vocabulary
from tests.tiny_chooser import checkpoint_with_chooser, tiny_chooser, words_of

# Responses of the chatbot's own conversations

DIALOGUES = [
    ["hello there", "hi! how are you?", "my dog is ill", "oh no. what is the dog called?", "Rex", "poor Rex."],
    ["the cat is ill", "I'm sorry. is it old?", "I like music", "what do you play?"],
]


@pytest.fixture
def words() -> Vocabulary:
    return words_of(*(text for dialogue in DIALOGUES for text in dialogue), "is")


def own_responses(vocabulary: Vocabulary) -> OwnResponses:
    dialogues = [[tuple(vocabulary.encode(text)) for text in dialogue] for dialogue in DIALOGUES]
    return OwnResponses(exchanges_of(dialogues, vocabulary), vocabulary)


def found_by(responses: OwnResponses, vocabulary: Vocabulary, *said: str, count: int = 3) -> list[str]:
    earlier = [vocabulary.encode(text) for text in said]
    return [vocabulary.decode(ids) for ids in responses.find(torch.zeros(1, 1), [earlier], count)[0]]


def test_responses_are_found_by_what_they_answered(words: Vocabulary) -> None:
    responses = own_responses(words)
    assert len(responses) == 5
    assert found_by(responses, words, "my dog is ill")[:2] == [
        "Oh no. What is the dog called?",
        "I'm sorry. Is it old?",
    ]
    assert found_by(responses, words, "I like music", count=1) == ["What do you play?"]
    assert found_by(responses, words, "play") == []


def test_a_response_that_names_somebody_is_found_only_where_the_name_was_said(words: Vocabulary) -> None:
    responses = own_responses(words)
    assert "Poor Rex." not in found_by(responses, words, "Oh no. What is the dog called?", "ill")
    assert "Poor Rex." in found_by(responses, words, "Oh no. What is the dog called?", "Rex")


def test_the_words_of_the_utterance_before_decide_between_like_questions() -> None:
    vocabulary = words_of("a film", "a song", "yes", "which film then?", "which song then?", "so")
    ids = {
        text: tuple(vocabulary.encode(text))
        for text in ("a film", "a song", "yes", "which film then?", "which song then?", "so")
    }
    exchanges = [
        Exchange(ids["a film"], ids["yes"], ids["which film then?"], (False,) * 4),
        Exchange(ids["a song"], ids["yes"], ids["which song then?"], (False,) * 4),
        Exchange((), ids["so"], ids["so"], (False,)),
    ]
    responses = OwnResponses(exchanges, vocabulary)
    assert found_by(responses, vocabulary, "a song", "yes")[0] == "Which song then?"
    assert found_by(responses, vocabulary, "a film", "yes")[0] == "Which film then?"


def test_a_fact_in_a_response_is_replaced_by_the_one_that_was_told_here() -> None:
    vocabulary = words_of("my dog is called Rex and I am a nurse in Berlin", "how old is Rex?", "so you are a baker?")
    vocabulary = Vocabulary([*vocabulary.tokens, "Bella", "Leeds", "teacher", "cat"])
    ids = [
        tuple(vocabulary.encode(text))
        for text in ("my dog is called Rex", "how old is Rex?", "I am a nurse", "so you are a nurse?")
    ]
    responses = OwnResponses(exchanges_of([ids], vocabulary), vocabulary)
    assert found_by(responses, vocabulary, "my cat is called Bella") == ["How old is Bella?"]
    assert found_by(responses, vocabulary, "my dog is called") == []
    assert found_by(responses, vocabulary, "I am a teacher") == ["So you are a teacher?"]
    assert found_by(responses, vocabulary, "a teacher", "so", "I am in Leeds") == ["So you are a teacher?"]


def test_a_word_that_nobody_told_the_chatbot_is_its_own() -> None:
    vocabulary = words_of("what do you like", "I like the blue sea", "red is fine")
    said = ("what do you like", "I like the blue sea", "red", "fine")
    ids = [tuple(vocabulary.encode(text)) for text in said]
    responses = OwnResponses(exchanges_of([ids], vocabulary), vocabulary)
    assert found_by(responses, vocabulary, "red is fine", "so", "what do you like") == ["I like the blue sea"]


def test_responses_are_read_as_they_were_written(words: Vocabulary, tmp_path: Path) -> None:
    dialogues = [[tuple(words.encode(text)) for text in dialogue] for dialogue in DIALOGUES]
    save_responses(tmp_path, exchanges_of(dialogues, words))
    again = load_responses(tmp_path, words)
    assert again is not None
    for said in ("my dog is ill", "hello there", "I like music"):
        assert found_by(again, words, said) == found_by(own_responses(words), words, said)


@pytest.mark.parametrize("change", ["short", "unknown", "unequal"])
def test_damaged_responses_are_told_in_a_sentence(change: str, tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    tensors = load_file(checkpoint.folder / RESPONSES)
    if change == "short":
        tensors["said"] = tensors["said"][:-1]
    elif change == "unknown":
        tensors["said"][0] = 10_000
    else:
        tensors["said_offsets"] = tensors["said_offsets"][[0, -1]]
    save_file(tensors, checkpoint.folder / RESPONSES)
    with pytest.raises(CheckpointError, match="is damaged or of another version"):
        load_checkpoint(checkpoint.folder)


def test_plain_replies_stand_beside_the_responses_of_conversations(tmp_path: Path) -> None:
    checkpoint = checkpoint_with_chooser(tmp_path)
    assert checkpoint.responses is not None
    found = checkpoint.responses.find(torch.zeros(1, 1), [[(5, 6)]], 3)[0]
    texts = [checkpoint.vocabulary.decode(ids) for ids in found]
    assert set(texts) & set(PLAIN.read_text("utf-8").splitlines())


def test_the_plain_replies_found_are_those_whose_vectors_fit_best() -> None:
    lines = PLAIN.read_text("utf-8").splitlines()
    vocabulary = words_of(*lines, "My dog died yesterday")
    chooser = tiny_chooser(len(vocabulary))
    plain = PlainReplies(chooser, vocabulary)
    assert len(plain) > 100
    asked = tuple(vocabulary.encode("My dog died yesterday"))
    best, second, third = plain.find([[asked]], 3)[0]
    replies = [ids for line in lines if UNK not in (ids := tuple(vocabulary.encode(normalise(line, vocabulary))))]
    likeness = chooser.likeness_of_all(ask([[asked]], [replies]))[0]
    assert [replies[place] for place in likeness.topk(3).indices] == [best, second, third]


def test_plain_replies_with_words_that_a_vocabulary_lacks_are_left_out() -> None:
    vocabulary = words_of("That's great!", "I hear music")
    plain = PlainReplies(tiny_chooser(len(vocabulary)), vocabulary)
    assert [vocabulary.decode(ids) for ids in plain.find([[(5,)]], 9)[0]] == ["That's great!"]


# Facts


def test_a_name_is_what_somebody_is_called_and_not_any_word_after_a_question_for_it() -> None:
    frequent = [f"w{number}" for number in range(500)]  # names are rare words
    said = ("what is her name", "she is called Pim", "yes she goes to school", "Pim", "Rex")
    vocabulary = Vocabulary([*SPECIALS, *frequent, *dict.fromkeys(" ".join(said).split())])
    dialogue = ("she is called Pim", "what is her name", "yes she goes to school")
    kinds = Facts(vocabulary).known([vocabulary.encode(text) for text in dialogue])
    assert kinds[vocabulary.id_of("goes")] == ""
    asked = [vocabulary.encode(text) for text in ("Rex", "what is her name", "Pim")]
    assert Facts(vocabulary).known(asked)[vocabulary.id_of("Pim")] == "name"
    told = [vocabulary.encode("she is called Pim")]
    assert Facts(vocabulary).known(told)[vocabulary.id_of("Pim")] == "name"


def facts_of(dialogue: Sequence[str], response: str) -> str | None:
    """The response with the facts of the dialogue put in; None where it does not suit."""
    vocabulary = Vocabulary([*SPECIALS, *dict.fromkeys(" ".join([*dialogue, response]).split())])
    facts, said = Facts(vocabulary), [vocabulary.encode(text) for text in dialogue]
    ids = tuple(vocabulary.encode(response))
    told = tuple(vocabulary.tokens[token] in ("Max", "London", "vet") for token in ids)
    known = facts.known(said)
    filled = facts.put_in(ids, told, known) if facts.suits(ids, told, said, known) else None
    return filled and " ".join(vocabulary.tokens[token] for token in filled)


@pytest.mark.parametrize(
    ("dialogue", "response", "expected"),
    [
        (["my cat is called Max", "nice", "how is my cat called"], "your son is called Max", None),
        (["my cat is called Max", "nice", "how is my cat called"], "your cat is called Max", "your cat is called Max"),
        (["my cat is called Max", "nice", "how is my pet called"], "your cat is called Max", "your cat is called Max"),
        (["my cat is called Max", "nice", "how is my pet called"], "your son is called Max", None),
        (["I live in Houston", "nice", "where do I live"], "you live in London", "you live in Houston"),
        (["I live in Houston", "nice", "what is my name ?"], "hi Max you live in London", None),
        (["I am Max from Houston", "nice", "what is my name ?"], "you live in London", None),
        (["a vet saw Max", "nice", "what is my name ?"], "a vet saw Max", None),
        (["my name is Max", "nice", "what is my name ?"], "your name is Max", "your name is Max"),
        (["I saw Houston", "nice", "where do I live"], "you live in London", None),
    ],
)
def test_a_fact_is_told_of_its_own_bearer_and_a_name_after_in_is_a_town(
    dialogue: list[str], response: str, expected: str | None
) -> None:
    assert facts_of(dialogue, response) == expected
