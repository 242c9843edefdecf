"""The Hierarchical Recurrent Encoder-Decoder (HRED; Serban et al., AAAI 2016, section 3).

An utterance encoder reads each utterance, a state tracker carries the state of the dialogue from utterance to
utterance, a decoder writes the next utterance from that state. Shapes: B dialogues, N utterances or rows, T tokens,
P packed tokens, E embedding, D utterance vector, S state, H decoder hidden, V vocabulary.
Knows no text, no training and no search: ids go in, logits come out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from chatbot.recurrent import GRU, last_states
from data.batches import Batch, pack
from data.vocabulary import PAD


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the network. `encoder_size` counts one direction; both are used, so D = 2 * encoder_size."""

    vocabulary_size: int
    embedding_size: int = 300
    encoder_size: int = 384
    state_size: int = 512
    decoder_size: int = 512

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


class UtteranceEncoder(nn.Module):
    """Bidirectional GRU over the words of an utterance; its vector is both last states side by side."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.forwards = GRU(config.embedding_size, config.encoder_size)
        self.backwards = GRU(config.embedding_size, config.encoder_size)

    def forward(self, words: Tensor, words_backwards: Tensor, sizes: Sequence[int], lengths: Tensor) -> Tensor:
        """Packed embeddings (P, E) of N utterances, longest first, from either end -> (N, D)."""
        start = words.new_zeros(len(lengths), self.forwards.hidden_size)
        return torch.cat(
            [
                last_states(self.forwards(words, sizes, start), lengths, sizes),
                last_states(self.backwards(words_backwards, sizes, start), lengths, sizes),
            ],
            dim=1,
        )


class StateTracker(nn.Module):
    """GRU over utterance vectors; its hidden state is the dialogue state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.rnn = GRU(2 * config.encoder_size, config.state_size)

    def forward(self, vectors: Tensor, sizes: Sequence[int], state: Tensor) -> Tensor:
        """Packed utterance vectors (N, D) of B dialogues, states before them (B, S) -> states after each (N, S)."""
        return self.rnn(vectors, sizes, state)


class ResponseDecoder(nn.Module):
    """GRU that writes a response. The dialogue state starts it, h0 = tanh(D0 s + b0), and is fed at every step.

    Its readout is a maxout of hidden state, dialogue state and last word (paper, section 3.1: ω), of embedding size,
    so that the output words can be the input embeddings.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.initial = nn.Linear(config.state_size, config.decoder_size)
        self.rnn = GRU(config.embedding_size, config.decoder_size)
        self.state_to_gates = nn.Linear(config.state_size, 3 * config.decoder_size, bias=False)
        self.hidden_to_readout = nn.Linear(config.decoder_size, 2 * config.embedding_size)
        self.word_to_readout = nn.Linear(config.embedding_size, 2 * config.embedding_size, bias=False)
        self.state_to_readout = nn.Linear(config.state_size, 2 * config.embedding_size, bias=False)

    def start(self, state: Tensor) -> Tensor:
        """h0: (N, S) -> (N, H)."""
        return torch.tanh(self.initial(state))

    def forward(self, words: Tensor, sizes: Sequence[int], state: Tensor) -> Tensor:
        """Packed embeddings (P, E) of N responses, longest first, from BOS on; states (N, S) -> readouts (P, E)."""
        hidden = self.rnn(words, sizes, self.start(state), self.state_to_gates(state))
        rows = torch.cat([torch.arange(size) for size in sizes])
        return self._readout(hidden, words, self.state_to_readout(state)[rows])

    def step(self, words: Tensor, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(N, E), (N, H), (N, S) -> readout (N, E), hidden (N, H)."""
        hidden = self.rnn.step(words, hidden, self.state_to_gates(state))
        return self._readout(hidden, words, self.state_to_readout(state)), hidden

    def _readout(self, hidden: Tensor, words: Tensor, from_state: Tensor) -> Tensor:
        pieces = self.hidden_to_readout(hidden) + self.word_to_readout(words) + from_state
        first, second = pieces.chunk(2, dim=-1)
        return torch.maximum(first, second)


class HRED(nn.Module):
    """The three networks over one embedding, with the output tied to it and a score of relevance.

    The same network gives p(y | state) and, from a zero state, p(y); both are trained (context dropout).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.encoder = UtteranceEncoder(config)
        self.tracker = StateTracker(config)
        self.decoder = ResponseDecoder(config)
        self.output_bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        self.relevance_map = nn.Linear(config.state_size, 2 * config.encoder_size, bias=False)

    # One parallel pass over a batch, for training and scoring.

    def read(self, batch: Batch, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Utterance vectors (N, D), longest utterance first, and the states after each turn (N, S), packed by turn."""
        words, backwards = self.embedding(batch.tokens), self.embedding(batch.tokens_backwards)
        vectors = self.encoder(words, backwards, batch.sizes, batch.lengths)
        start = self.initial_state(batch.turn_sizes[0]) if state is None else state
        return vectors, self.tracker(vectors[batch.turns], batch.turn_sizes, start)

    def write(self, inputs: Tensor, sizes: Sequence[int], state: Tensor) -> Tensor:
        """Readouts (P, E) of packed decoder inputs (P,), given the state (N, S) before each response."""
        return self.decoder(self.embedding(inputs), sizes, state)

    def logits(self, readouts: Tensor) -> Tensor:
        """(N, E) -> (N, V) in float32."""
        return nn.functional.linear(readouts, self.embedding.weight, self.output_bias).float()

    # One turn at a time, for the engine.

    def initial_state(self, count: int) -> Tensor:
        """The state of `count` dialogues in which nothing was said: (N, S) zeros."""
        return torch.zeros(count, self.config.state_size)

    def encode(self, utterances: Tensor, lengths: Tensor) -> Tensor:
        """Utterance vectors (N, D) of padded ids (N, T), each closed by EOS; lengths (N,) count it."""
        lengths, order = lengths.sort(descending=True, stable=True)
        tokens, backwards, sizes = pack(utterances[order], lengths)
        vectors = self.encoder(self.embedding(tokens), self.embedding(backwards), sizes, lengths)
        return vectors[order.argsort()]

    def track(self, vectors: Tensor, state: Tensor) -> Tensor:
        """The next dialogue state: (N, D), (N, S) -> (N, S)."""
        return self.tracker(vectors, [len(vectors)], state)

    def start_decoding(self, state: Tensor) -> Tensor:
        """The decoder's memory before its first word: (N, S) -> (N, M)."""
        return self.decoder.start(state)

    def decode_step(self, tokens: Tensor, memory: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Reads one token a row (BOS first): (N,), (N, M), (N, S) -> logits (N, V) in float32, memory (N, M)."""
        readout, memory = self.decoder.step(self.embedding(tokens), memory, state)
        return self.logits(readout), memory

    def relevance(self, state: Tensor, vectors: Tensor) -> Tensor:
        """How well utterances answer states, row by row: (N, S), (N, D) -> (N,)."""
        return (self.relevance_query(state) * vectors).sum(dim=-1)

    def relevance_query(self, state: Tensor) -> Tensor:
        """(N, S) -> (N, D), to be multiplied with utterance vectors; trained with in-batch negatives."""
        return self.relevance_map(state) * self.relevance_map.out_features**-0.5
