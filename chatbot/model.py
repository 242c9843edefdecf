"""The Hierarchical Recurrent Encoder-Decoder (HRED; Serban et al., AAAI 2016, section 3) and its flat relatives.

An utterance encoder reads each utterance, a state tracker carries the state of the dialogue from utterance to
utterance, a decoder writes the next utterance from that state. Without the tracker it is a flat seq2seq, without the
encoder as well a language model, whose decoder's own memory is all that it keeps of a dialogue.

Shapes: B dialogues, N utterances or rows, R responses, T tokens, P packed tokens, E embedding, D utterance vector,
S state, C the part of a state that conditions the decoder, M decoder memory, H decoder hidden, V vocabulary.
Knows no text, no training and no search: ids go in, logits come out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from chatbot.recurrent import CellName, RecurrentLayer, RecurrentStack, last_states, reversal, rows_of
from data.batches import Batch, pack
from data.vocabulary import PAD

Kind = Literal["hred", "seq2seq", "language-model"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which network, and its sizes. Raises ValueError where a value is impossible."""

    vocabulary_size: int
    embedding_size: int = 300
    encoder_size: int = 384  # of each direction
    state_size: int = 512
    decoder_size: int = 512
    kind: Kind = "hred"
    cell: CellName = "gru"
    layers: int = 1  # of each of the recurrent networks
    bidirectional: bool = True  # the encoder

    def __post_init__(self) -> None:
        for name in ("vocabulary_size", "embedding_size", "encoder_size", "state_size", "decoder_size", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number above 0, not {value!r}")
        for name, known in (("kind", get_args(Kind)), ("cell", get_args(CellName)), ("bidirectional", (True, False))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, not {getattr(self, name)!r}")

    @property
    def vector_size(self) -> int:
        """D, of an utterance vector."""
        return self.encoder_size * (2 if self.bidirectional else 1)

    @property
    def condition_size(self) -> int:
        """C: the state tracker's hidden state; of a seq2seq the utterance vector; of a language model nothing."""
        return {"hred": self.state_size, "seq2seq": self.vector_size, "language-model": 0}[self.kind]


class UtteranceEncoder(nn.Module):
    """RNN over the words of an utterance, from one end or both; its vector is the last states side by side."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = [config.embedding_size, *[config.vector_size] * (config.layers - 1)]
        self.forwards = nn.ModuleList(RecurrentLayer(config.cell, size, config.encoder_size) for size in sizes)
        self.backwards = nn.ModuleList(
            RecurrentLayer(config.cell, size, config.encoder_size) for size in sizes if config.bidirectional
        )

    def forward(self, words: Tensor, words_backwards: Tensor, sizes: Sequence[int], lengths: Tensor) -> Tensor:
        """Packed embeddings (P, E) of N utterances, longest first, from either end -> (N, D).

        The second is not looked at where the encoder reads from one end only.
        """
        directions = [self.forwards, self.backwards] if self.backwards else [self.forwards]
        ends = [words, words_backwards][: len(directions)]
        for depth in range(len(self.forwards)):
            if depth and self.backwards:  # a layer reads what those below it, from either end, say of each word
                flip = reversal(lengths, sizes)
                both = torch.cat([ends[0], ends[1][flip]], dim=1)
                ends = [both, both[flip]]
            ends = [_run(layers[depth], end, sizes) for layers, end in zip(directions, ends, strict=True)]
        return torch.cat([last_states(end, lengths, sizes) for end in ends], dim=1)


def _run(layer: nn.Module, words: Tensor, sizes: Sequence[int]) -> Tensor:
    """Hidden states (P, H) of one layer from an empty memory."""
    layer = cast(RecurrentLayer, layer)
    memory: Tensor = layer(words, sizes, words.new_zeros(sizes[0], layer.memory_size))
    return memory[:, -layer.hidden_size :]


class StateTracker(nn.Module):
    """RNN over utterance vectors; its memory is the dialogue state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.rnn = RecurrentStack(config.cell, config.layers, config.vector_size, config.state_size)

    def forward(self, vectors: Tensor, sizes: Sequence[int], state: Tensor) -> Tensor:
        """Packed utterance vectors (N, D) of B dialogues, states before them (B, S) -> states after each (N, S)."""
        states: Tensor = self.rnn(vectors, sizes, state)
        return states


class ResponseDecoder(nn.Module):
    """RNN that writes a response. The dialogue state starts it, h0 = tanh(D0 s + b0), and is fed at every step.

    Its readout is a maxout of hidden state, dialogue state and last word (paper, section 3.1: ω), of embedding size,
    so that the output words can be the input embeddings. A language model's has no state but its own memory.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.rnn = RecurrentStack(config.cell, config.layers, config.embedding_size, config.decoder_size)
        self.hidden_to_readout = nn.Linear(config.decoder_size, 2 * config.embedding_size)
        self.word_to_readout = nn.Linear(config.embedding_size, 2 * config.embedding_size, bias=False)
        self.is_conditioned = config.condition_size > 0
        if self.is_conditioned:
            self.initial = nn.Linear(config.condition_size, self.rnn.memory_size)
            self.state_to_gates = nn.Linear(config.condition_size, self.rnn.gates_size, bias=False)
            self.state_to_readout = nn.Linear(config.condition_size, 2 * config.embedding_size, bias=False)

    def start(self, state: Tensor) -> Tensor:
        """The memory before the first word: (N, C) -> (N, M); of a language model, (N, M) as it is."""
        return torch.tanh(self.initial(state)) if self.is_conditioned else state

    def forward(self, words: Tensor, sizes: Sequence[int], state: Tensor) -> Tensor:
        """Packed embeddings (P, E) of N responses, longest first, from BOS on; states (N, C) -> readouts (P, E)."""
        memory = self.rnn(words, sizes, self.start(state), self._at_gates(state))
        rows = torch.cat([torch.arange(size) for size in sizes])
        return self._readout(memory, words, self._at_readout(state, rows))

    def step(self, words: Tensor, memory: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(N, E), (N, M), (N, C) -> readout (N, E), memory (N, M)."""
        return self.step_fed(words, memory, self.feed(state))

    def feed(self, state: Tensor) -> Tensor:
        """What a state adds to the gates and to the readout of every step: (N, C) -> (N, G + 2E), or (N, 0)."""
        if not self.is_conditioned:
            return state[:, :0]
        return torch.cat([self.state_to_gates(state), self.state_to_readout(state)], dim=1)

    def step_fed(self, words: Tensor, memory: Tensor, fed: Tensor) -> tuple[Tensor, Tensor]:
        """As `step`, with what `feed` gives instead of the state."""
        gates = self.rnn.gates_size
        at_gates, at_readout = (fed[:, :gates], fed[:, gates:]) if self.is_conditioned else (None, None)
        memory = self.rnn.step(words, memory, at_gates)
        return self._readout(memory, words, at_readout), memory

    def _at_gates(self, state: Tensor) -> Tensor | None:
        return self.state_to_gates(state) if self.is_conditioned else None

    def _at_readout(self, state: Tensor, rows: Tensor | slice = slice(None)) -> Tensor | None:
        return self.state_to_readout(state)[rows] if self.is_conditioned else None

    def _readout(self, memory: Tensor, words: Tensor, from_state: Tensor | None) -> Tensor:
        pieces = self.hidden_to_readout(self.rnn.hidden(memory)) + self.word_to_readout(words)
        if from_state is not None:
            pieces = pieces + from_state
        first, second = pieces.chunk(2, dim=-1)
        return torch.maximum(first, second)


class HRED(nn.Module):
    """The networks over one embedding, with the output tied to it and a score of relevance.

    The same network gives p(y | state) and, from a zero state, p(y); both are trained (context dropout).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.encoder = UtteranceEncoder(config) if self.has_relevance else None
        self.tracker = StateTracker(config) if config.kind == "hred" else None
        self.decoder = ResponseDecoder(config)
        self.output_bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        if self.has_relevance:
            self.relevance_map = nn.Linear(config.condition_size, config.vector_size, bias=False)

    @property
    def has_relevance(self) -> bool:
        """Whether there are utterance vectors, hence a score of how well one answers a state."""
        return self.config.kind != "language-model"

    @property
    def state_width(self) -> int:
        """S, of all that is kept of a dialogue."""
        if self.tracker is not None:
            return self.tracker.rnn.memory_size
        return self.config.condition_size or self.decoder.rnn.memory_size

    # One parallel pass over a batch, for training and scoring.

    def read(self, batch: Batch, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Utterance vectors (N, D), longest utterance first, and states (B + N, S): the B that the dialogues of the
        batch start from, zeros unless they are given, then those after each turn, packed by turn."""
        if start is None:
            start = self.initial_state(batch.turn_sizes[0])
        if self.encoder is None:
            return start.new_zeros(len(batch.lengths), 0), self._reread(batch, start)
        words = self.embedding(batch.tokens)
        backwards = self.embedding(batch.tokens_backwards) if self.config.bidirectional else words
        vectors: Tensor = self.encoder(words, backwards, batch.sizes, batch.lengths)
        turns = vectors[batch.turns]
        if self.tracker is not None:
            turns = self.tracker(turns, batch.turn_sizes, start)
        return vectors, torch.cat([start.to(turns.dtype), turns])

    def _reread(self, batch: Batch, memory: Tensor) -> Tensor:
        """A language model's states (B + N, M): its decoder runs over the utterances, turn after turn."""
        states, first = [memory], 0
        for size in batch.turn_sizes:
            utterances, order = batch.turns[first : first + size].sort()
            lengths = batch.lengths[utterances]
            rows, sizes = rows_of(utterances, lengths, batch.sizes)
            after = self.decoder.rnn(self.embedding(batch.tokens[rows]), sizes, states[-1][:size][order])
            states.append(last_states(after, lengths, sizes)[order.argsort()])
            first += size
        return torch.cat([state.to(states[-1].dtype) for state in states])

    def write(self, inputs: Tensor, sizes: Sequence[int], state: Tensor) -> Tensor:
        """Readouts (P, E) of packed decoder inputs (P,), given the state (N, S) before each response."""
        readouts: Tensor = self.decoder(self.embedding(inputs), sizes, self._condition(state))
        return readouts

    def logits(self, readouts: Tensor) -> Tensor:
        """(N, E) -> (N, V) in float32."""
        return nn.functional.linear(readouts, self.embedding.weight, self.output_bias).float()

    # One turn at a time, for the engine.

    def initial_state(self, count: int) -> Tensor:
        """The state of `count` dialogues in which nothing was said: (N, S) zeros."""
        return torch.zeros(count, self.state_width)

    def listen(self, utterances: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """The states after hearing one utterance each: padded ids (N, T), closed by EOS, (N,), (N, S) -> (N, S)."""
        if self.encoder is not None:
            return self.track(self.encode(utterances, lengths), state)
        lengths, order = lengths.sort(descending=True, stable=True)
        tokens, _, sizes = pack(utterances[order], lengths)
        after = self.decoder.rnn(self.embedding(tokens), sizes, state[order])
        return last_states(after, lengths, sizes)[order.argsort()]

    def encode(self, utterances: Tensor, lengths: Tensor) -> Tensor:
        """Utterance vectors (N, D) of padded ids (N, T), each closed by EOS; lengths (N,) count it."""
        assert self.encoder is not None, "a language model has no utterance vectors"
        lengths, order = lengths.sort(descending=True, stable=True)
        tokens, backwards, sizes = pack(utterances[order], lengths)
        vectors: Tensor = self.encoder(self.embedding(tokens), self.embedding(backwards), sizes, lengths)
        return vectors[order.argsort()]

    def track(self, vectors: Tensor, state: Tensor) -> Tensor:
        """The next dialogue state: (N, D), (N, S) -> (N, S)."""
        return vectors if self.tracker is None else self.tracker(vectors, [len(vectors)], state)

    def start_decoding(self, state: Tensor) -> Tensor:
        """The decoder's memory before its first word: (N, S) -> (N, M)."""
        return self.decoder.start(self._condition(state))

    def feed(self, state: Tensor) -> Tensor:
        """What `decode_step` takes of a state; the state itself (N, S), unless the network is prepared to answer."""
        return state

    def decode_step(self, tokens: Tensor, memory: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Reads one token a row (BOS first): (N,), (N, M), (N, S) -> logits (N, V) in float32, memory (N, M)."""
        readout, memory = self.decoder.step(self.embedding(tokens), memory, self._condition(state))
        return self.logits(readout), memory

    def relevance(self, state: Tensor, vectors: Tensor) -> Tensor:
        """How well utterances answer states, row by row: (N, S), (N, D) -> (N,)."""
        return (self.relevance_query(state) * vectors).sum(dim=-1)

    def relevance_query(self, state: Tensor) -> Tensor:
        """(N, S) -> (N, D), to be multiplied with utterance vectors; trained with in-batch negatives."""
        return self.relevance_map(self._condition(state)) * self.config.vector_size**-0.5

    def _condition(self, state: Tensor) -> Tensor:
        """What the decoder sees of a state, (N, S) -> (N, C); a language model's starts from all of it."""
        return state if self.tracker is None else self.tracker.rnn.hidden(state)
