"""What decoding asks of a network."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Model(Protocol):
    """What decoding asks of `chatbot.model.HRED`; N rows, T tokens, S state, M memory, D vector, V vocabulary."""

    @property
    def has_relevance(self) -> bool: ...  # whether the next two can be called

    def initial_state(self, count: int, /) -> Tensor: ...  # (N, S) zeros

    def start_decoding(self, state: Tensor, /) -> Tensor: ...  # (N, S) -> memory (N, M)

    def feed(self, state: Tensor, /) -> Tensor: ...  # (N, S) -> what each step is fed of it (N, F)

    def decode_step(self, tokens: Tensor, memory: Tensor, fed: Tensor, /) -> tuple[Tensor, Tensor]: ...

    def write(self, inputs: Tensor, sizes: Sequence[int], state: Tensor) -> Tensor: ...  # packed (Q,), (N, S) -> (Q, E)

    def logits(self, readouts: Tensor) -> Tensor: ...  # (Q, E) -> (Q, V)

    def encode(self, utterances: Tensor, lengths: Tensor) -> Tensor: ...  # (N, T), (N,) -> (N, D)

    def relevance(self, state: Tensor, vectors: Tensor) -> Tensor: ...  # (N, S), (N, D) -> (N,)
