"""The gate, on tiny checkpoints: one that has learned the new dialogues, one that has forgotten the old."""

import numpy as np
import pytest
import torch

from chatbot.checkpoint import Checkpoint, save_checkpoint
from data.batches import make_batch
from data.tokenizer import tokenise
from data.vocabulary import Vocabulary
from tests.tiny_checkpoint import tiny_model
from training.gate import HeldOut, Margins, Probe, _foretold, judge
from training.new_words import grown
from training.objective import Objective
from training.scoring import foretell

_OLD = [
    "how are you ?",
    "i am fine .",
    "do you like music ?",
    "yes , i like films .",
    "what is your name ?",
    "i am tom .",
]
_NEW = ["when do you open ?", "at nine .", "what do you sell ?", "tea and zorbo ."]
_WORDS = sorted({token for text in [*_OLD, *_NEW] for token in tokenise(text)} - {"zorbo"})


def dialogues(texts: list[str], count: int, seed: int) -> list[list[list[str]]]:
    """Dialogues of questions and their answers, in any order."""
    random = np.random.default_rng(seed)
    pairs = [texts[place : place + 2] for place in range(0, len(texts), 2)]
    return [[tokenise(text) for pair in random.permutation(len(pairs)) for text in pairs[pair]] for _ in range(count)]


def learned(folder, texts: list[str], start: Checkpoint | None = None, steps: int = 80) -> Checkpoint:
    vocabulary = start.vocabulary if start else Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", *_WORDS])
    model = start.model if start else tiny_model(len(vocabulary))
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    model.requires_grad_(True)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    batch = make_batch(
        [
            [np.array([vocabulary.id_of(token) for token in tokens]) for tokens in dialogue]
            for dialogue in dialogues(texts, 20, 0)
        ]
    )
    for _ in range(steps):
        Objective(relevance_weight=0.2)(model, batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    return save_checkpoint(folder, model, vocabulary, {})


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Checkpoint:
    return learned(tmp_path_factory.mktemp("live") / "live", _OLD)


@pytest.fixture(scope="module")
def better(live, tmp_path_factory) -> Checkpoint:
    """Knows the old and the new, and a new word."""
    folder = tmp_path_factory.mktemp("better")
    model, vocabulary = grown(live.model, live.vocabulary, ["zorbo"], _NEW)
    start = save_checkpoint(folder / "grown", model, vocabulary, {})
    return learned(folder / "better", [*_OLD, *_NEW], start)


def held_out(texts: list[str]) -> HeldOut:
    found = dialogues(texts, 12, 1)
    return HeldOut(found, [np.arange(len(dialogue)) % 2 == 1 for dialogue in found])


WIDE = Margins(perplexity=0.5, recall=1.0, dull=1.0)


def test_who_has_learned_the_new_and_kept_the_old_passes(live, better):
    verdict = judge(better, live, held_out(_NEW), dialogues(_OLD, 12, 1), margins=WIDE)
    assert verdict.faults == ["The base dialogues are too few to pick a response among ten; bring more."]
    new = verdict.figures["new_perplexity"]
    assert new["candidate"] < new["live"] / 2
    assert new["low"] <= new["candidate"] <= new["high"]


def test_who_has_learned_nothing_is_told_so(live):
    verdict = judge(live, live, held_out(_NEW), dialogues(_OLD, 12, 1), margins=WIDE)
    assert not verdict.passed
    assert "not certainly lower" in verdict.faults[0]


def test_who_has_forgotten_the_old_is_told_so(live, tmp_path):
    start = save_checkpoint(tmp_path / "start", live.model, live.vocabulary, {})
    forgetful = learned(tmp_path / "forgetful", _NEW, start)
    verdict = judge(forgetful, live, held_out(_NEW), dialogues(_OLD, 12, 1), margins=WIDE)
    assert any("base dialogues" in fault and "certainly below" in fault for fault in verdict.faults)


def test_a_new_word_counts_as_unknown_to_both(live, better):
    """To foretell 'zorbo' where the other can only foretell that a word is unknown must win and cost nothing."""
    test = held_out(["what do you sell ?", "zorbo zorbo zorbo"])
    known = _foretold(better, test.dialogues, len(live.vocabulary))
    ids = [[[better.vocabulary.id_of(token) for token in tokens] for tokens in one] for one in test.dialogues]
    apart = foretell(better.model, ids, np.random.default_rng(0))
    assert known.tokens.tolist() == apart.tokens.tolist()
    assert (known.nats < apart.nats).all()  # unknown or zorbo is likelier than zorbo


def test_a_forbidden_reply_that_the_live_one_does_not_give_is_a_fault(live, better):
    probe = Probe([tokenise("what do you sell ?")], lambda reply: "zorbo" in reply.lower())
    verdict = judge(better, live, held_out(_NEW), dialogues(_OLD, 12, 1), [probe], WIDE)
    assert any("forbidden" in fault for fault in verdict.faults)
    assert verdict.figures["forbidden_replies"]["live"] == 0


def test_what_the_live_one_replies_as_well_is_no_new_fault(live):
    probes = [Probe([tokenise("do you like music ?")], lambda reply: True)]
    verdict = judge(live, live, held_out(_NEW), dialogues(_OLD, 12, 1), probes, WIDE)
    assert not any("forbidden" in fault for fault in verdict.faults)
    assert verdict.figures["forbidden_replies"] == {"live": 2, "candidate": 2, "asked": 2}


def test_too_few_dialogues_are_no_ground_for_a_verdict(live, better):
    one = held_out(_NEW)
    for count in (1, 5):
        few = HeldOut(one.dialogues[:count], one.judged[:count])
        assert "Too few new dialogues" in judge(better, live, few, dialogues(_OLD, 12, 1), margins=WIDE).faults[0]
