"""Recurrent layers over packed sequences, Elman, GRU and LSTM, with their gradients written by hand.

Sequences are packed as PyTorch packs them: longest first, time-major, `sizes[t]` sequences still alive at step t, so
no padding is ever computed. One product serves the inputs of all steps and one the weight gradient of all steps; only
h @ W_hh stays in the loop. In bfloat16 on a CPU that is several times faster than `torch.nn.GRU` (see benchmarks).
Parameters have the names, shapes and meaning of `torch.nn.RNN`, `GRU` and `LSTM`, the oracles of the tests.

Shapes: N sequences, P packed tokens, I inputs, H hidden, G gates side by side; M memory, all that a cell hands to its
next step. An Elman or GRU cell's memory is h; an LSTM's is [c, h].
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CellName = Literal["elman", "gru", "lstm"]


class Elman:
    """h' = tanh(W x + U h) (Elman, 1990)."""

    gates, memories = 1, 1
    keeps = 0  # values of a step, in H, that backward needs beside gates and memory
    resets = False  # whether a gate stands between U h and the rest, so that their gradients differ

    @staticmethod
    def step(gates: Tensor, before: Tensor, recurrent: Tensor, kept: Tensor, after: Tensor) -> None:
        torch.tanh(gates.add_(recurrent), out=after)

    @staticmethod
    def backward(
        d_memory: Tensor,
        before: Tensor,
        after: Tensor,
        gates: Tensor,
        kept: Tensor,
        d_inputs: Tensor,
        d_recurrent: Tensor,
    ) -> None:
        torch.addcmul(d_memory, d_memory, after.square(), value=-1, out=d_inputs)
        d_memory.zero_()


class GRU:
    """r = σ(W_r x + U_r h), z = σ(W_z x + U_z h), n = tanh(W_n x + r ⊙ U_n h), h' = (1 - z) ⊙ n + z ⊙ h

    (Cho et al., 2014). Keeps U_n h.
    """

    gates, memories, keeps, resets = 3, 1, 1, True

    @staticmethod
    def step(gates: Tensor, before: Tensor, recurrent: Tensor, kept: Tensor, after: Tensor) -> None:
        size = before.shape[1]
        reset_update = gates[:, : 2 * size].add_(recurrent[:, : 2 * size]).sigmoid_()
        kept.copy_(recurrent[:, 2 * size :])
        candidate = gates[:, 2 * size :].addcmul_(reset_update[:, :size], kept).tanh_()
        torch.lerp(candidate, before, reset_update[:, size:], out=after)

    @staticmethod
    def backward(
        d_memory: Tensor,
        before: Tensor,
        after: Tensor,
        gates: Tensor,
        kept: Tensor,
        d_inputs: Tensor,
        d_recurrent: Tensor,
    ) -> None:
        reset, update, candidate = gates.chunk(3, dim=1)
        size = before.shape[1]
        d_candidate = torch.addcmul(d_memory, d_memory, update, value=-1)  # dh' (1 - z)
        d_update = torch.sub(before, candidate).mul_(d_memory).mul_(torch.addcmul(update, update, update, value=-1))
        d_candidate.addcmul_(d_candidate, candidate.square(), value=-1)  # through tanh
        d_inputs[:, 2 * size :] = d_candidate
        torch.mul(d_candidate, reset, out=d_recurrent[:, 2 * size :])
        torch.mul(d_candidate.mul_(kept), torch.addcmul(reset, reset, reset, value=-1), out=d_inputs[:, :size])
        d_inputs[:, size : 2 * size] = d_update
        d_recurrent[:, : 2 * size] = d_inputs[:, : 2 * size]
        d_memory *= update


class LSTM:
    """i, f, o = σ(W x + U h), g = tanh(W_g x + U_g h), c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c')

    (Hochreiter & Schmidhuber, 1997; Gers et al., 2000). Keeps tanh(c').
    """

    gates, memories, keeps, resets = 4, 2, 1, False

    @staticmethod
    def step(gates: Tensor, before: Tensor, recurrent: Tensor, kept: Tensor, after: Tensor) -> None:
        size = kept.shape[1]
        gates += recurrent
        gates[:, : 2 * size].sigmoid_()
        gates[:, 2 * size : 3 * size].tanh_()
        gates[:, 3 * size :].sigmoid_()
        into, forget, new, out = gates.chunk(4, dim=1)
        cell = torch.mul(forget, before[:, :size], out=after[:, :size]).addcmul_(into, new)
        torch.mul(out, torch.tanh(cell, out=kept), out=after[:, size:])

    @staticmethod
    def backward(
        d_memory: Tensor,
        before: Tensor,
        after: Tensor,
        gates: Tensor,
        kept: Tensor,
        d_inputs: Tensor,
        d_recurrent: Tensor,
    ) -> None:
        size = kept.shape[1]
        into, forget, new, out = gates.chunk(4, dim=1)
        d_into, d_forget, d_new, d_out = d_inputs.chunk(4, dim=1)
        d_cell, d_hidden = d_memory.split(size, dim=1)
        d_tanh = d_hidden * out
        d_cell += torch.addcmul(d_tanh, d_tanh, kept.square(), value=-1)
        torch.mul(d_cell, new, out=d_into).mul_(torch.addcmul(into, into, into, value=-1))
        torch.mul(d_cell, before[:, :size], out=d_forget).mul_(torch.addcmul(forget, forget, forget, value=-1))
        torch.mul(d_cell, into, out=d_new).addcmul_(d_new.clone(), new.square(), value=-1)
        torch.mul(d_hidden, kept, out=d_out).mul_(torch.addcmul(out, out, out, value=-1))
        d_cell *= forget
        d_hidden.zero_()


_CELLS: dict[CellName, type[Elman | GRU | LSTM]] = {"elman": Elman, "gru": GRU, "lstm": LSTM}


class RecurrentLayer(nn.Module):
    """One layer of cells; `memory_size` is M, `gates_size` is G."""

    def __init__(self, cell: CellName, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = _CELLS[cell]
        self.hidden_size = hidden_size
        self.memory_size = self.cell.memories * hidden_size
        self.gates_size = self.cell.gates * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(self.gates_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(self.gates_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(self.gates_size))
        self.bias_hh = nn.Parameter(torch.zeros(self.gates_size))
        for gate in range(self.cell.gates):
            rows = slice(gate * hidden_size, (gate + 1) * hidden_size)
            nn.init.xavier_uniform_(self.weight_ih.data[rows])
            nn.init.orthogonal_(self.weight_hh.data[rows])
        if cell == "lstm":  # an LSTM that begins by forgetting learns late (Jozefowicz et al., 2015)
            nn.init.ones_(self.bias_ih.data[hidden_size : 2 * hidden_size])

    def forward(self, inputs: Tensor, sizes: Sequence[int], memory: Tensor, constant: Tensor | None = None) -> Tensor:
        """The memory after each step of N packed sequences.

        inputs (P, I) packed; sizes T counts that sum to P; memory (N, M); constant (N, G) is added to the gates of its
        sequence at every step (an input that does not change with time). Returns (P, M), packed.
        """
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else inputs.dtype
        weights = [w.to(dtype) for w in (self.weight_ih, self.bias_ih, self.weight_hh, self.bias_hh)]
        if constant is None:
            constant = inputs.new_zeros(len(memory), self.gates_size, dtype=dtype)
        return _PackedRecurrence.apply(
            self.cell, inputs.to(dtype), constant.to(dtype), memory.to(dtype), list(sizes), *weights
        )


class RecurrentStack(nn.ModuleList):
    """Layers above one another, each reading the hidden states of the one below; their memories stand side by side."""

    def __init__(self, cell: CellName, layers: int, input_size: int, hidden_size: int) -> None:
        sizes = [input_size, *[hidden_size] * (layers - 1)]
        super().__init__(RecurrentLayer(cell, size, hidden_size) for size in sizes)
        self.hidden_size = hidden_size
        self.memory_size = sum(layer.memory_size for layer in self._layers)
        self.gates_size = self._layers[0].gates_size

    @property
    def _layers(self) -> list[RecurrentLayer]:
        return list(self)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor, sizes: Sequence[int], memory: Tensor, constant: Tensor | None = None) -> Tensor:
        """As `RecurrentLayer.forward`, with M the memories of all layers; the constant goes into the lowest."""
        memories = []
        for layer, below in zip(self._layers, memory.split([one.memory_size for one in self._layers], 1), strict=True):
            memories.append(layer(inputs, sizes, below, constant))
            inputs, constant = self.hidden(memories[-1]), None
        return memories[0] if len(memories) == 1 else torch.cat(memories, dim=1)

    def hidden(self, memory: Tensor) -> Tensor:
        """What the cells show of a memory, the topmost h: (N, M) -> (N, H)."""
        return memory if memory.shape[1] == self.hidden_size else memory[:, -self.hidden_size :]

    def step(self, inputs: Tensor, memory: Tensor, constant: Tensor | None = None) -> Tensor:
        """One step: inputs (N, I), memory (N, M), constant (N, G) -> (N, M)."""
        after: Tensor = self(inputs, [len(inputs)], memory, constant)
        return after


def last_states(outputs: Tensor, lengths: Tensor, sizes: Sequence[int]) -> Tensor:
    """What stands at the last token of each of N packed sequences: (P, M), lengths (N,) falling -> (N, M)."""
    return outputs[_starts(sizes)[lengths - 1] + torch.arange(len(lengths))]


def reversal(lengths: Tensor, sizes: Sequence[int]) -> Tensor:
    """Where each packed token stands when every sequence is read from its end: (P,), its own inverse."""
    starts = _starts(sizes)
    steps = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))  # (P,)
    sequences = torch.arange(len(steps)) - starts[steps]
    return starts[lengths[sequences] - 1 - steps] + sequences


def rows_of(sequences: Tensor, lengths: Tensor, sizes: Sequence[int]) -> tuple[Tensor, list[int]]:
    """The packed rows of some sequences, longest first, and how many of them are alive at each step."""
    steps = torch.arange(int(lengths[0]))[:, None]  # (T, 1)
    alive = steps < lengths
    return (_starts(sizes)[: len(steps), None] + sequences)[alive], alive.sum(dim=1).tolist()


def _starts(sizes: Iterable[int]) -> Tensor:
    """The packed row with which each step begins."""
    return torch.tensor([0, *itertools.accumulate(sizes)])[:-1]


def run_steps(
    cell: type[Elman | GRU | LSTM],
    gates: Tensor,
    constant: Tensor | None,
    start: Tensor,
    sizes: Sequence[int],
    from_hidden: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """What each step of a cell keeps and the memory after it, both packed; `gates` (P, G), W x, is overwritten.

    `from_hidden` gives U h, (N, H) -> (N, G); constant (N, G) and start (N, M) as in `RecurrentLayer.forward`.
    """
    size = start.shape[1] // cell.memories
    kept = gates.new_empty(len(gates), cell.keeps * size)
    memory = gates.new_empty(len(gates), cell.memories * size)
    before = start
    for rows in _steps(sizes):
        before = before[: rows.stop - rows.start]
        if constant is not None:
            gates[rows] += constant[: len(before)]
        cell.step(gates[rows], before, from_hidden(before[:, -size:]), kept[rows], memory[rows])
        before = memory[rows]
    return kept, memory


class _PackedRecurrence(torch.autograd.Function):
    """The recurrence of `RecurrentLayer`; keeps the gates of every step, so that backward recomputes no product."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, cell, inputs, constant, start, sizes, weight_ih, bias_ih, weight_hh, bias_hh
    ):
        gates = F.linear(inputs, weight_ih, bias_ih)  # (P, G); each step turns its rows into activations in place
        kept, memory = run_steps(cell, gates, constant, start, sizes, lambda h: F.linear(h, weight_hh, bias_hh))
        ctx.cell, ctx.sizes = cell, sizes
        ctx.save_for_backward(inputs, start, gates, kept, memory, weight_ih, weight_hh)
        return memory

    @staticmethod
    def backward(ctx, d_outputs):  # type: ignore[no-untyped-def]
        inputs, start, gates, kept, memory, weight_ih, weight_hh = ctx.saved_tensors
        cell, size = ctx.cell, weight_hh.shape[1]
        d_inputs_gates = torch.empty_like(gates)  # of W x
        d_hidden_gates = torch.empty_like(gates) if cell.resets else d_inputs_gates  # of U h
        d_constant = torch.zeros_like(gates[: len(start)])
        d_memory = gates.new_zeros(start.shape)
        steps = _steps(ctx.sizes)
        for place in reversed(range(len(steps))):
            rows = steps[place]
            count = rows.stop - rows.start
            before = memory[steps[place - 1]][:count] if place else start[:count]
            d_step = d_memory[:count]
            d_step += d_outputs[rows]
            cell.backward(
                d_step, before, memory[rows], gates[rows], kept[rows], d_inputs_gates[rows], d_hidden_gates[rows]
            )
            d_step[:, -size:].addmm_(d_hidden_gates[rows], weight_hh)
            d_constant[:count] += d_inputs_gates[rows]
        hidden_before = _shifted(memory[:, -size:], start[:, -size:], steps)
        return (
            None,
            d_inputs_gates @ weight_ih,
            d_constant,
            d_memory,
            None,
            d_inputs_gates.T @ inputs,
            d_inputs_gates.sum(0),
            d_hidden_gates.T @ hidden_before,
            d_hidden_gates.sum(0),
        )


def _shifted(outputs: Tensor, start: Tensor, steps: list[slice]) -> Tensor:
    """The hidden state before each packed row: (P, H)."""
    before = [start[: steps[0].stop]]
    for previous, rows in itertools.pairwise(steps):
        before.append(outputs[previous][: rows.stop - rows.start])
    return torch.cat(before)


def _steps(sizes: Sequence[int]) -> list[slice]:
    """The packed rows of each step."""
    ends = list(itertools.accumulate(sizes))
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
