import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from chatbot.recurrent import GRU, last_states


@pytest.fixture
def packed():
    torch.manual_seed(0)
    return pack_sequence([torch.randn(length, 5, dtype=torch.float64) for length in (7, 4, 4, 1)])


def pair_of_cells(inputs: int, hidden: int) -> tuple[GRU, torch.nn.GRU]:
    ours, oracle = GRU(inputs, hidden).double(), torch.nn.GRU(inputs, hidden).double()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        torch.nn.init.normal_(getattr(ours, name))
        getattr(oracle, f"{name}_l0").data.copy_(getattr(ours, name))
    return ours, oracle


def test_states_are_those_of_pytorchs_own_gru(packed):
    ours, oracle = pair_of_cells(5, 3)
    h0 = torch.randn(4, 3, dtype=torch.float64)
    expected, final = oracle(packed, h0[None])
    outputs = ours(packed.data, packed.batch_sizes.tolist(), h0)
    torch.testing.assert_close(outputs, expected.data)
    torch.testing.assert_close(last_states(outputs, torch.tensor([7, 4, 4, 1]), packed.batch_sizes.tolist()), final[0])


def test_gradients_are_those_of_pytorchs_own_gru(packed):
    ours, oracle = pair_of_cells(5, 3)
    for cell, run in ((ours, lambda x, h: ours(x, packed.batch_sizes.tolist(), h)), (oracle, None)):
        cell.inputs = packed.data.clone().requires_grad_()
        cell.start = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
        if run is None:
            outputs = oracle(packed._replace(data=cell.inputs), cell.start[None])[0].data
        else:
            outputs = run(cell.inputs, cell.start)
        (outputs * torch.arange(outputs.numel()).view_as(outputs)).sum().backward()
    torch.testing.assert_close(ours.inputs.grad, oracle.inputs.grad)
    torch.testing.assert_close(ours.start.grad, oracle.start.grad)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        torch.testing.assert_close(getattr(ours, name).grad, getattr(oracle, f"{name}_l0").grad)


def test_a_constant_input_counts_at_every_step_of_its_sequence(packed):
    cell, _ = pair_of_cells(5, 3)
    constant = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    h0 = torch.zeros(4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda c: cell(packed.data, packed.batch_sizes.tolist(), h0, c), [constant], raise_exception=True
    )


def test_one_step_is_the_first_of_many(packed):
    cell, _ = pair_of_cells(5, 3)
    h0 = torch.randn(4, 3, dtype=torch.float64)
    outputs = cell(packed.data, packed.batch_sizes.tolist(), h0)
    torch.testing.assert_close(cell.step(packed.data[:4], h0), outputs[:4])
