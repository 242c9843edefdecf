from hypothesis import given
from hypothesis import strategies as st

from data.tokenizer import JOINER, detokenise, tokenise


def test_words_signs_and_contractions_are_tokens_of_their_own():
    assert tokenise("I don't know, Sam's dog...") == ["I", "don't", "know", "￭,", "Sam", "￭'s", "dog", "￭..."]


def test_numbers_abbreviations_and_emoji_stay_whole():
    assert tokenise("At 10:30 in the U.S.A. 👨‍👩‍👧 3.50") == [
        "At",
        "10:30",
        "in",
        "the",
        "U.S.A.",
        "👨‍👩‍👧",
        "3.50",
    ]


def test_quotes_keep_the_side_they_lean_on():
    assert tokenise('"Well..." she said.') == ['"￭', "Well", "￭...", '￭"', "she", "said", "￭."]


@given(st.text())
def test_detokenise_gives_back_what_a_reader_sees(text):
    seen = " ".join(text.replace(JOINER, "■").split())
    assert detokenise(tokenise(text)) == seen


@given(st.text(alphabet="ab'’.,!? -\"()3" + JOINER))
def test_detokenise_gives_back_crowded_signs(text):
    assert detokenise(tokenise(text)) == " ".join(text.replace(JOINER, "■").split())
