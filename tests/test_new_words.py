import torch

from data.vocabulary import UNK, Vocabulary
from tests.tiny_checkpoint import tiny_checkpoint
from training.new_words import Said, grown, new_words

KNOWN = Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", "we", "sell", "the", "."])


def talk(count: int, text: str, people: int | None = None) -> list[Said]:
    """As many dialogues in which something is said, by some people or by nobody knows whom."""
    return [Said(f"{number}", people and f"person {number % people}", [text]) for number in range(count)]


def test_a_word_is_new_where_it_is_frequent_and_several_people_use_it():
    assert new_words([*talk(3, "We sell the Zorbo.", 2), *talk(2, "ZORBO", 2)], KNOWN) == ["Zorbo"]


def test_a_word_of_one_person_is_never_new_however_often_it_is_said():
    assert new_words(talk(1_000, "zorbo", 1), KNOWN) == []


def test_where_people_are_unknown_each_dialogue_is_somebody_elses():
    assert new_words(talk(5, "zorbo"), KNOWN) == ["zorbo"]
    assert new_words(talk(2, "zorbo zorbo zorbo"), KNOWN) == []


def test_a_rare_word_is_not_new():
    assert new_words(talk(4, "zorbo"), KNOWN) == []


def test_the_most_frequent_words_come_first():
    assert new_words(talk(5, "zorbo flim zorbo"), KNOWN) == ["zorbo", "flim"]


def test_a_contact_s_words_are_new_however_seldom_and_each_as_it_is_joined_there():
    vocabulary = Vocabulary([*KNOWN.tokens, "￭7946", "0958￭"])
    assert new_words(talk(1, "Call 020 7946 0958."), vocabulary, ["020 7946 0958"]) == ["020", "7946", "0958"]
    assert new_words(talk(5, "zorbo 020"), KNOWN, ["020", "020"]) == ["020", "zorbo"]


def test_a_larger_vocabulary_leaves_what_was_known_as_it_was(tmp_path):
    old = tiny_checkpoint(tmp_path / "old")
    model, vocabulary = grown(old.model, old.vocabulary, ["Zorbo", "flim"], ["I like Zorbo music", "flim flim"])
    assert vocabulary.tokens == (*old.vocabulary.tokens, "Zorbo", "flim")
    assert old.vocabulary.id_of("zorbo") == UNK
    assert vocabulary.id_of("zorbo") == len(old.vocabulary)
    state = torch.randn(3, model.state_width)
    tokens = torch.tensor([4, 5, 6])
    before, _ = old.model.decode_step(tokens, old.model.start_decoding(state), state)
    after, _ = model.decode_step(tokens, model.start_decoding(state), state)
    torch.testing.assert_close(after[:, : len(old.vocabulary)], before)


def test_a_new_word_starts_near_its_neighbours_and_no_two_are_the_same(tmp_path):
    old = tiny_checkpoint(tmp_path / "old")
    model, vocabulary = grown(old.model, old.vocabulary, ["zorbo", "flim"], ["like zorbo music", "like flim music"])
    zorbo, flim = model.embedding.weight[-2:].detach()
    like, music = (model.embedding.weight[vocabulary.id_of(word)].detach() for word in ("like", "music"))
    off = float((zorbo - (like + music) / 2).norm())
    assert off < 2 * float(old.model.embedding.weight.std()) * len(zorbo) ** 0.5
    assert not torch.equal(zorbo, flim)
