from collections import Counter

import pytest

from data.tokenizer import tokenise
from data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary


def vocabulary_of(*utterances: str, size: int = 100) -> Vocabulary:
    counts = Counter(token for utterance in utterances for token in tokenise(utterance))
    return Vocabulary.from_counts(counts, size)


def test_the_most_frequent_tokens_come_first_and_ties_by_spelling():
    assert vocabulary_of("b b a a c", size=6).tokens == (*SPECIALS, "a", "b")


def test_case_and_the_shape_of_an_apostrophe_share_one_id():
    vocabulary = vocabulary_of("Don't go")
    assert vocabulary.id_of("don’t") == vocabulary.id_of("DON'T") != UNK


def test_replies_get_their_capitals_back():
    vocabulary = vocabulary_of("i think I like London and I go. the end", "yes I do, in London.")
    assert vocabulary.decode(vocabulary.encode("yes. i think i like london.")) == "Yes. I think I like London."


@pytest.mark.parametrize("text", ["Mail help@ferry.example now.", "See ferry.example/times?day=mon now. Or call."])
def test_a_sign_inside_a_word_ends_no_sentence(text):
    vocabulary = vocabulary_of(text.lower())
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_a_capital_that_only_opens_sentences_is_not_kept_inside_one():
    counts = Counter({"Yeah": 9, "yeah": 1, "well": 3})
    vocabulary = Vocabulary.from_counts(counts, 10, inner_counts=Counter({"yeah": 1, "well": 3}))
    assert vocabulary.decode(vocabulary.encode("well yeah")) == "Well yeah"


def test_a_word_glued_to_its_neighbour_is_still_known():
    vocabulary = vocabulary_of("hello world")
    assert vocabulary.encode("hello,world")[::2] == [vocabulary.id_of("hello"), vocabulary.id_of("world")]


def test_specials_are_never_read_from_text_nor_written_to_it():
    vocabulary = vocabulary_of("a <unk> b")
    assert not {PAD, BOS, EOS} & set(vocabulary.encode("<pad> <bos> <eos>"))
    assert vocabulary.decode([BOS, UNK, vocabulary.id_of("a"), EOS, PAD]) == "A"


def test_a_saved_vocabulary_is_the_same_when_loaded(tmp_path):
    vocabulary = vocabulary_of("Crème brûlée 😀, don't!")
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json").tokens == vocabulary.tokens


@pytest.mark.parametrize(
    "content", ["{}", "[1, 2]", "[]", '["<pad>", "<unk>", "<bos>", "<eos>", "a", "A"]', "not json"]
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(ValueError):
        Vocabulary.load(path)
