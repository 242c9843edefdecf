import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from chatbot.recurrent import RecurrentLayer, RecurrentStack, last_states, reversal

LENGTHS = (7, 4, 4, 1)
ORACLES = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@pytest.fixture
def packed():
    torch.manual_seed(0)
    return pack_sequence([torch.randn(length, 5, dtype=torch.float64) for length in LENGTHS])


def pair_of_stacks(cell: str, layers: int = 1) -> tuple[RecurrentStack, torch.nn.RNNBase]:
    """Ours and PyTorch's with the same random weights: 5 inputs, 3 hidden."""
    ours = RecurrentStack(cell, layers, 5, 3).double()
    oracle = ORACLES[cell](5, 3, num_layers=layers).double()
    for depth, layer in enumerate(ours):
        for name in NAMES:
            torch.nn.init.normal_(getattr(layer, name))
            getattr(oracle, f"{name}_l{depth}").data.copy_(getattr(layer, name))
    return ours, oracle


def run_oracle(oracle: torch.nn.RNNBase, packed, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """PyTorch's own hidden states (P, 3) and final memory (4, M), from and to memories laid out as ours are."""
    parts = memory.view(len(memory), oracle.num_layers, -1, 3).permute(2, 1, 0, 3).contiguous()  # (1 or 2, L, N, H)
    start = parts[0] if len(parts) == 1 else (parts[1], parts[0])  # ours is [c, h]
    outputs, final = oracle(packed, start)
    ends = [final] if len(parts) == 1 else [final[1], final[0]]
    return outputs.data, torch.stack(ends).permute(2, 1, 0, 3).reshape(memory.shape)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", ORACLES)
def test_states_are_those_of_pytorchs_own_cells(packed, cell, layers):
    ours, oracle = pair_of_stacks(cell, layers)
    start = torch.randn(4, ours.memory_size, dtype=torch.float64)
    expected, final = run_oracle(oracle, packed, start)
    sizes = packed.batch_sizes.tolist()
    memories = ours(packed.data, sizes, start)
    torch.testing.assert_close(ours.hidden(memories), expected)
    torch.testing.assert_close(last_states(memories, torch.tensor(LENGTHS), sizes), final)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ORACLES)
def test_gradients_are_those_of_pytorchs_own_cells(packed, cell, layers):
    ours, oracle = pair_of_stacks(cell, layers)
    weights = torch.arange(float(3 * len(packed.data)), dtype=torch.float64).view(-1, 3)
    found = []
    for run in (
        lambda words, start: ours.hidden(ours(words, packed.batch_sizes.tolist(), start)),
        lambda words, start: run_oracle(oracle, packed._replace(data=words), start)[0],
    ):
        words = packed.data.clone().requires_grad_()
        start = torch.ones(4, ours.memory_size, dtype=torch.float64, requires_grad=True)
        (run(words, start) * weights).sum().backward()
        found.append((words.grad, start.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)
    for depth, layer in enumerate(ours):
        for name in NAMES:
            torch.testing.assert_close(getattr(layer, name).grad, getattr(oracle, f"{name}_l{depth}").grad)


@pytest.mark.parametrize("cell", ORACLES)
def test_all_of_a_memory_has_a_gradient_and_so_has_a_constant_input(packed, cell):
    layer = RecurrentLayer(cell, 5, 3).double()
    constant = torch.randn(4, layer.gates_size, dtype=torch.float64, requires_grad=True)
    start = torch.randn(4, layer.memory_size, dtype=torch.float64, requires_grad=True)
    run = lambda memory, c: layer(packed.data, packed.batch_sizes.tolist(), memory, c)  # noqa: E731
    assert torch.autograd.gradcheck(run, [start, constant])


@pytest.mark.parametrize("cell", ORACLES)
def test_one_step_is_the_first_of_many(packed, cell):
    ours, _ = pair_of_stacks(cell, 2)
    start = torch.randn(4, ours.memory_size, dtype=torch.float64)
    outputs = ours(packed.data, packed.batch_sizes.tolist(), start)
    torch.testing.assert_close(ours.step(packed.data[:4], start), outputs[:4])


def test_a_reversal_reads_every_sequence_from_its_end(packed):
    flip = reversal(torch.tensor(LENGTHS), packed.batch_sizes.tolist())
    backwards = packed._replace(data=packed.data[flip])
    forwards, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed)
    turned, _ = torch.nn.utils.rnn.pad_packed_sequence(backwards)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(turned[:length, row], forwards[:length, row].flip(0))
