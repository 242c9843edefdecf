import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from chatbot import inference
from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.decoding.continuations import largest
from chatbot.decoding.offline import decode
from chatbot.decoding.utterances import log_probabilities
from chatbot.engine import ChatEngine
from chatbot.inference import (
    BRIEF,
    EXACT,
    ROUGH,
    Bfloat16Product,
    Int8Product,
    PackedHRED,
    PackedProduct,
    Product,
    fastest,
    is_possible,
    prepare,
)
from chatbot.model import HRED
from chatbot.reply import DEFAULT, GREEDY, DecodingConfig, ReplyRequest
from tests.tiny_checkpoint import tiny_checkpoint, tiny_model

# What this processor can do: without its instructions for bfloat16 an engine has that much less to choose among.
ROUGH_HERE = [product for product in ROUGH if is_possible(product)]
BRIEF_HERE = Bfloat16Product if is_possible(Bfloat16Product) else PackedProduct


def states_of(model: HRED, count: int, seed: int = 0) -> Tensor:
    """Dialogues in which something was said."""
    random = torch.Generator().manual_seed(seed)
    heard = torch.randint(4, model.config.vocabulary_size, (count, 5), generator=random)
    return model.listen(heard, torch.arange(count) % 5 + 1, model.initial_state(count))


@pytest.mark.parametrize("kind", ["hred", "seq2seq", "language-model"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("product", EXACT)
def test_a_prepared_network_of_any_kind_gives_what_the_model_gives(kind: str, cell: str, product: type) -> None:
    model = tiny_model(40, kind=kind, cell=cell, layers=2)
    packed = PackedHRED(model, product, product, product)
    torch.testing.assert_close(states_of(packed, 9), states_of(model, 9))
    states = states_of(model, 9)
    tokens, memory = torch.arange(4, 13), model.start_decoding(states)
    torch.testing.assert_close(packed.start_decoding(states), memory)
    expected = model.decode_step(tokens, memory, states)
    torch.testing.assert_close(packed.decode_step(tokens, memory, packed.feed(states)), expected)


@pytest.mark.parametrize("product", ROUGH_HERE)
def test_a_rough_product_is_near_and_a_row_has_the_same_in_any_company(product: type) -> None:
    random = torch.Generator().manual_seed(0)
    rows, weight = torch.randn(64, 300, generator=random), torch.randn(500, 300, generator=random)
    rows *= torch.logspace(-2, 2, 64)[:, None]  # some rows far larger than others
    bias = torch.randn(500, generator=random)
    found, exact = product(weight, bias)(rows), rows @ weight.T + bias
    assert ((found - exact).norm(dim=1) / exact.norm(dim=1)).max() < 0.025  # in bytes at 64 levels it is 0.02
    alone = torch.cat([product(weight, bias)(row) for row in rows.split(1)])
    torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("product", ROUGH_HERE)
def test_the_likeliest_words_have_the_models_own_probabilities(product: type) -> None:
    model = tiny_model(500)
    packed = PackedHRED(model, PackedProduct, BRIEF_HERE, product)
    readouts = torch.randn(20, model.config.embedding_size, generator=torch.Generator().manual_seed(0))
    exact, found = model.logits(readouts), packed.logits(readouts)
    values, words = exact.topk(3, dim=1)
    torch.testing.assert_close(found.gather(1, words), values)
    assert torch.equal(found.argmax(dim=1), exact.argmax(dim=1))
    assert 0 < (found - exact).abs().max() < 0.1 * exact.std()


@pytest.mark.parametrize("product", ROUGH_HERE)
@pytest.mark.parametrize("config", [GREEDY, DecodingConfig(method="beam", max_tokens=12)])
def test_a_reply_is_word_for_word_the_models(product: type, config: DecodingConfig) -> None:
    model = tiny_model(500)
    states = states_of(model, 30)
    plain = decode(model, states, config)
    packed = decode(PackedHRED(model, PackedProduct, PackedProduct, product), states, config)
    same = [one[0].ids == other[0].ids for one, other in zip(plain, packed, strict=True)]
    # Two words may be as likely as each other, and so may two hypotheses, whose sums hold the error of every word.
    assert sum(same) >= (29 if config is GREEDY else 26)


@pytest.mark.parametrize("product", ROUGH_HERE)
def test_a_seed_fixes_the_samples_whatever_else_is_in_the_batch(product: type) -> None:
    packed = PackedHRED(tiny_model(500), PackedProduct, BRIEF_HERE, product)
    states = states_of(packed, 12)
    together = decode(packed, states, DEFAULT)
    apart = decode(packed, states, DEFAULT, max_batch=5)
    assert [[one.ids for one in found] for found in together] == [[one.ids for one in found] for found in apart]


@pytest.mark.parametrize("kind", ["hred", "seq2seq", "language-model"])
def test_what_is_remembered_of_a_dialogue_is_exact_whatever_replies_are_written_with(kind: str) -> None:
    model = tiny_model(40, kind=kind)
    packed = PackedHRED(model, PackedProduct, BRIEF_HERE, Int8Product)
    torch.testing.assert_close(states_of(packed, 9), states_of(model, 9))


def test_what_is_written_with_rough_products_is_about_as_likely_as_in_float32() -> None:
    model = load_checkpoint("default").model
    packed = PackedHRED(model, PackedProduct, BRIEF_HERE, Int8Product)
    states, replies = states_of(model, 20), [list(range(10 + n, 20 + n)) for n in range(20)]
    exact, found = (log_probabilities(one, states, replies) for one in (model, packed))
    assert ((found - exact) / exact).abs().max() < 0.02
    assert not torch.equal(found, exact)


def test_a_prepared_network_copies_no_embedding_and_leaves_the_model_as_it_was() -> None:
    model = tiny_model(40)
    before = [type(part) for part in model.modules()]
    packed = PackedHRED(model, PackedProduct, BRIEF_HERE, Int8Product)
    assert packed.embedding.weight is model.embedding.weight
    assert [type(part) for part in model.modules()] == before


def test_the_shipped_checkpoint_is_prepared_and_a_small_network_is_not() -> None:
    model = load_checkpoint("default").model
    assert isinstance(prepare(model), PackedHRED)
    small = tiny_model(40)
    assert prepare(small) is small


def test_a_product_that_the_processor_cannot_do_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(weight: Tensor) -> object:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(inference, "_packed_int8", refuse)
    fastest.cache_clear()
    assert fastest((Int8Product, PackedProduct)) is PackedProduct
    fastest.cache_clear()


@pytest.mark.parametrize("product", [*BRIEF, *ROUGH])
def test_a_product_is_one_that_this_processor_can_take_or_is_not_chosen(product: type) -> None:
    if is_possible(product):
        assert product(torch.ones(4, 8), torch.zeros(4))(torch.ones(2, 8)).tolist() == [[8.0] * 4] * 2
    else:
        assert fastest((Product, product)) is Product


def test_bytes_are_rounded_so_that_no_sum_overflows() -> None:
    rows, weight = torch.ones(3, 300), torch.ones(8, 300)
    torch.testing.assert_close(Int8Product(weight, torch.zeros(8))(rows), rows @ weight.T)


def test_an_engine_answers_through_the_prepared_network_as_the_model_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    requests = [ReplyRequest(text) for text in ("Hello there", "What is your name?", "I like films")]
    expected = answers(checkpoint, requests)
    monkeypatch.setattr(inference, "_WORTH_PACKING", 0)
    monkeypatch.setattr(inference, "BRIEF", EXACT)
    assert answers(checkpoint, requests) == expected


def answers(checkpoint: Checkpoint, requests: list[ReplyRequest]) -> list[str]:
    with ChatEngine(checkpoint, GREEDY) as engine:
        return [engine.reply(request).text for request in requests]


@pytest.mark.parametrize(("width", "count"), [(12_000, 1), (12_000, 40), (1_003, 10), (50, 3), (5, 9)])
def test_the_largest_of_a_row_are_those_of_a_full_search(width: int, count: int) -> None:
    values = torch.randn(7, width, generator=torch.Generator().manual_seed(0))
    values[0, -1] = 99.0  # in none of the groups where they do not divide the row
    found, columns = largest(values, count)
    expected, places = values.topk(min(count, width), dim=1)
    assert torch.equal(found, expected)
    assert torch.equal(columns, places)


def test_what_serves_loads_no_compiler() -> None:
    script = (
        "import sys; from chatbot.checkpoint import load_checkpoint; from chatbot.engine import ChatEngine\n"
        "with ChatEngine(load_checkpoint('default')) as engine: engine.submit\n"
        "print([name for name in ('torch._dynamo', 'sympy', 'matplotlib', 'gensim', 'faiss') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"  # a hundred megabytes of every serving process


def test_loading_leaves_no_idle_threads_behind() -> None:
    """Beside the threads of whoever computes later they would slow down every product."""
    script = (
        "import os; from chatbot.checkpoint import load_checkpoint; from chatbot.engine import ChatEngine\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "ChatEngine(load_checkpoint('default'))\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    alone = os.environ | {"OMP_NUM_THREADS": "2"}
    found = subprocess.run([sys.executable, "-c", script], env=alone, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "0"
