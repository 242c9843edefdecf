"""A network to answer with: the same HRED, its products prepared for the processor. It cannot learn.

Two thirds of a reply's arithmetic choose words: readouts (N, E) against all V of them. That product need only be good
enough to tell which words can win, so it is taken in few bits; the likeliest are then multiplied again, exactly. In 8
bits a weight has one scale for each output (W_o = scale_o * integer); a row of inputs is brought to [-1, 1] by its own
largest value and rounded to 1/127 (Jacob et al., CVPR 2018, without its calibration), or to 1/64 where the processor
adds pairs of products in 16 bits, which overflow otherwise. No row's scale looks at its neighbours, so a reply is the
same whatever else is in the batch. What the decoder remembers until its reply ends may be multiplied in bfloat16; what
is remembered of the dialogue stays in float32, for an error there would grow from turn to turn.

Shapes: N rows, I inputs, O outputs; for the rest see `chatbot.model` and `chatbot.recurrent`.
"""

import copy
import time
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chatbot.decoding.continuations import largest
from chatbot.model import HRED
from chatbot.pools import leaving_no_pool
from chatbot.recurrent import RecurrentLayer, RecurrentStack, run_steps

_WORTH_PACKING = 1_000_000  # weights; a smaller network waits for Python and not for products
_EXACT = 8  # of the likeliest words of each row
_TRIAL = (64, 300, 8192)  # rows, inputs and outputs of the product that the processor is judged by
_ROUNDS = 12


class Product(nn.Module):
    """x W^T + b as `nn.Linear` does it: (N, I) -> (N, O)."""

    weight: Any  # in whatever form the product takes it
    bias: Any

    def __init__(self, weight: object, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight, self.bias)


class PackedProduct(Product):
    """The same in oneDNN's order of the weights; on some processors twice as fast.

    oneDNN compiles a kernel for each number of rows and keeps a thousand of them, 150 MB, so there are few numbers.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(torch.ops.mkldnn._reorder_linear_weight(weight), bias)

    def forward(self, rows: Tensor) -> Tensor:
        count = len(rows)
        padded = F.pad(rows, (0, 0, 0, _rounded(count) - count))
        product: Tensor = torch.ops.mkldnn._linear_pointwise(padded, self.weight, self.bias, "none", [], "")
        return product[:count]


def _rounded(count: int) -> int:
    """Up to a number whose binary digits are zeros but for the first two: at most half as many more."""
    unit = 1 << max(0, count.bit_length() - 2)
    return -(-count // unit) * unit


class Bfloat16Product(PackedProduct):
    """Weights and inputs rounded to bfloat16, and the outputs before the bias."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight.bfloat16(), None)
        self.own_bias = torch.zeros(len(weight)) if bias is None else bias

    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows.bfloat16()) + self.own_bias


class Int8Product(Product):
    """Weights of 8 bits with a scale for each output, inputs of 8 bits with one for each row."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__(_packed_int8(weight), bias)

    def forward(self, rows: Tensor) -> Tensor:
        scale = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-9)  # (N, 1)
        product = _product_int8(rows / scale, self.weight, _most_level())
        return torch.addcmul(self.bias, product, scale, out=product)


def _product_int8(rows: Tensor, weight: object, most: int) -> Tensor:
    """Inputs of [-1, 1] (N, I), rounded to 1/most, and packed weights -> (N, O)."""
    product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
        rows, 1 / most, most + 1, weight
    )
    return product


@cache
def _most_level() -> int:
    """The largest integer that an input is rounded to, at which the processor's sums do not overflow.

    Without VNNI instructions two products of 8 bits are added in 16, where 255 * 127 * 2 has no room.
    """
    product = _product_int8(torch.ones(1, 64), _packed_int8(torch.ones(8, 64)), 127)
    return 127 if torch.allclose(product, torch.full((1, 8), 64.0)) else 64


def _packed_int8(weight: Tensor) -> object:
    scales = weight.abs().amax(dim=1).clamp(min=1e-9) / 127
    with warnings.catch_warnings():  # of quantised tensors, which this torch deprecates; the release is pinned
        warnings.simplefilter("ignore", UserWarning)
        integers = torch.quantize_per_channel(
            weight, scales, torch.zeros_like(scales, dtype=torch.long), 0, torch.qint8
        )
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        return torch.ops.quantized.linear_prepack(integers, None)
    finally:
        torch.backends.quantized.engine = before


EXACT = (Product, PackedProduct)
BRIEF = (*EXACT, Bfloat16Product)
ROUGH = (Bfloat16Product, Int8Product)


class PackedLayer(nn.Module):
    """A `RecurrentLayer` whose products are prepared."""

    def __init__(self, layer: RecurrentLayer, product: type[Product]) -> None:
        super().__init__()
        self.cell, self.hidden_size = layer.cell, layer.hidden_size
        self.memory_size, self.gates_size = layer.memory_size, layer.gates_size
        self.from_inputs = product(layer.weight_ih, layer.bias_ih)
        self.from_hidden = product(layer.weight_hh, layer.bias_hh)

    def forward(self, inputs: Tensor, sizes: Sequence[int], memory: Tensor, constant: Tensor | None = None) -> Tensor:
        """As `RecurrentLayer.forward`."""
        _, after = run_steps(self.cell, self.from_inputs(inputs), constant, memory, sizes, self.from_hidden)
        return after


class PackedHRED(HRED):
    """Answers as `model` does, whose embedding it shares.

    `exact` products carry the state of the dialogue, `brief` ones what the decoder remembers, `rough` ones find words.
    A decoder that has no state beside its own memory, as a language model's, is exact.

    What the decoder is fed of a state is the same at every word of a reply, so `feed` multiplies it once: (N, S) ->
    (N, G + 2E), and `decode_step` takes that in the place of the state.
    """

    def __init__(self, model: HRED, exact: type[Product], brief: type[Product], rough: type[Product]) -> None:
        nn.Module.__init__(self)  # its parts are those of the model
        self.__dict__.update(_prepared(model, exact).__dict__)
        if model.decoder.is_conditioned:
            self.decoder.rnn = cast(RecurrentStack, _prepared(model.decoder.rnn, brief))
        self.output = rough(model.embedding.weight, model.output_bias)

    def logits(self, readouts: Tensor) -> Tensor:
        """As HRED.logits; where products are rough, only those of the likeliest words are exact."""
        rough: Tensor = self.output(readouts)
        if type(self.output) in EXACT:
            return rough
        _, words = largest(rough, _EXACT)  # (N, K)
        exact = (self.embedding(words) @ readouts[:, :, None])[:, :, 0] + self.output_bias[words]
        return rough.scatter_(1, words, exact)

    def feed(self, state: Tensor) -> Tensor:
        return self.decoder.feed(self._condition(state))

    def decode_step(self, tokens: Tensor, memory: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        readout, memory = self.decoder.step_fed(self.embedding(tokens), memory, state)
        return self.logits(readout), memory


def _prepared(module: nn.Module, product: type[Product]) -> nn.Module:
    """The module with the same parts, but for those that multiply."""
    if isinstance(module, RecurrentLayer):
        return PackedLayer(module, product)
    if isinstance(module, nn.Linear):
        return product(module.weight, module.bias)
    twin = copy.copy(module)
    twin._modules = {name: part and _prepared(part, product) for name, part in module._modules.items()}
    return twin


@leaving_no_pool
def prepare(model: HRED) -> HRED:
    """The model as this processor answers fastest with it; a small one as it is."""
    if sum(parameter.numel() for parameter in model.parameters()) < _WORTH_PACKING:
        return model
    return PackedHRED(model, fastest(EXACT), fastest(BRIEF), fastest((*EXACT, *ROUGH)))


@cache
def fastest(products: tuple[type[Product], ...]) -> type[Product]:
    """Measured once a process, in a tenth of a second: the best of several turns each, since others may be working."""
    rows, inputs, outputs = _TRIAL
    numbers, weight, bias = torch.rand(rows, inputs), torch.rand(outputs, inputs), torch.rand(outputs)
    seconds = {}
    for product in filter(is_possible, products):
        seconds[product] = _seconds(product(weight, bias), numbers)
    return min(seconds, key=seconds.__getitem__)


def is_possible(product: type[Product]) -> bool:
    """Whether this processor, with this build of torch, can take it."""
    try:
        product(torch.ones(8, 8), torch.ones(8))(torch.ones(1, 8))
    except (RuntimeError, AttributeError):
        return False
    return True


def _seconds(trial: Product, numbers: Tensor) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        trial(numbers)
        best = min(best, time.perf_counter() - begin)
    return best
