"""Dialogue states to hypotheses: greedy decoding, beam search, sampling, and the choice among candidates.

A `Search` looks for one reply and owns a block of rows, one a live hypothesis. `step` extends the hypotheses of every
search by a token in one call of the model, so one reply's candidates, a beam, and the replies of unrelated
conversations are all rows of one batch; a search may join or leave between two steps. Knows no text and no threads.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, chain, groupby, islice, pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from chatbot.reply import DEFAULT, DecodingConfig
from data.batches import pack
from data.vocabulary import BOS, EOS, PAD, Speech

Seed = int | tuple[int, ...] | None

_SPEECH = Speech()  # of a vocabulary of which nothing is known
_DRAWN_FROM = 2  # times as many responses are found as are offered
_FORCED = 16  # utterances whose logits exist at once
_HEARD = 128  # utterances that are encoded at once
_GROUP = 16  # columns of a row among which only the largest is looked at first
_ROWS = 128  # and rows of a step, unless one search has more


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


class Responses(Protocol):
    """What people answered elsewhere; `chatbot.retrieval.Responses` is one."""

    def find(
        self, states: Tensor, earlier: Sequence[Sequence[Sequence[int]]], count: int
    ) -> list[list[tuple[int, ...]]]:
        """Up to `count` responses to each of the states (n, S), which were reached over the utterances `earlier`."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Decoded ids without BOS and EOS; natural logarithms of the model's own probabilities, EOS counted once ended."""

    ids: tuple[int, ...] = ()
    log_probability: float = 0.0  # log p(y | state)
    log_prior: float = 0.0  # log p(y | zero state); 0 where the search does not follow it
    is_retrieved: bool = False  # not decoded, but said by somebody

    @property
    def last(self) -> int:
        return self.ids[-1] if self.ids else BOS

    def normalised(self, config: DecodingConfig) -> float:
        """(log p(y|s) - lambda log p(y)) / |y|^penalty for an ended hypothesis, |y| counting EOS; both terms alike."""
        gain = self.log_probability - config.mmi_lambda * self.log_prior
        return gain / (len(self.ids) + 1) ** config.length_penalty


class Continuations(NamedTuple):
    """The likeliest next tokens of R live hypotheses, likeliest first; -inf where one is forbidden."""

    tokens: np.ndarray  # (R, W) int64
    log_probability: np.ndarray  # (R, W) float64
    log_prior: np.ndarray  # (R, W) float64
    marks: np.ndarray  # (R, 1) int64, the mark by which an end is said; EOS: it needs none


class Pick(NamedTuple):
    """A token that extends the hypothesis of one row."""

    row: int
    token: int
    log_probability: float
    log_prior: float
    mark: int


class Choice(NamedTuple):
    """What a search makes of its continuations; nothing has changed until it is `accept`ed."""

    live: list[Hypothesis]
    parents: list[int]  # row of the hypothesis that each live one extends
    ended: list[Hypothesis]


class Search:
    """The search for one reply: live hypotheses with their rows, and the ended ones kept apart.

    `state` is (1, S). `seed` fixes the samples whatever else is in the batch; None draws a fresh one.
    """

    __slots__ = ("config", "ended", "fed", "live", "memory", "prior_fed", "prior_memory", "random", "state")

    def __init__(self, config: DecodingConfig, state: Tensor, memory: Tensor, fed: Tensor, seed: Seed = None) -> None:
        self.config = config
        self.live = [Hypothesis()]
        self.ended: list[Hypothesis] = []
        self.random = np.random.default_rng(seed)
        self.state = state  # (1, S), the same for every row
        self.memory = memory  # (L, M)
        self.fed = fed  # (1, F) of the state
        self.prior_memory: Tensor | None = None  # (L, M) of the same tokens decoded from a zero state
        self.prior_fed: Tensor | None = None  # (1, F) of that

    @property
    def is_done(self) -> bool:
        return not self.live

    def choose(self, picks: Iterable[Pick]) -> Choice:
        """What becomes of the live hypotheses with these extensions, the best first."""
        choice = Choice([], [], [])
        room = self.config.beam_size if self.config.method == "beam" else math.inf
        for row, token, log_probability, log_prior, mark in picks:
            stem = self.live[row]
            spoken = mark if token == EOS else token
            ids = stem.ids if spoken == EOS else (*stem.ids, spoken)
            grown = Hypothesis(ids, stem.log_probability + log_probability, stem.log_prior + log_prior)
            if token == EOS:
                choice.ended.append(grown)
            elif len(choice.live) < room:
                choice.live.append(grown)
                choice.parents.append(row)
        return choice

    def accept(self, choice: Choice, memory: Tensor, prior_memory: Tensor | None) -> None:
        """Takes a choice over with the memory of its live rows, and ends a beam that nothing live can beat."""
        self.live, self.memory, self.prior_memory = choice.live, memory, prior_memory
        self.ended.extend(choice.ended)
        if self.config.method == "beam" and self.ended and self.live:
            best = max(hypothesis.normalised(self.config) for hypothesis in self.ended)
            if best >= self._bound():
                self.live = []

    def _bound(self) -> float:
        """The best `normalised` a live hypothesis can reach: every token to come certain, and as many as allowed.

        Where log p(y) counts as well the gain can rise without bound, so the beam runs until all have ended.
        """
        if self.prior_memory is not None:
            return math.inf
        best = max(hypothesis.log_probability for hypothesis in self.live)
        return best / (self.config.max_tokens + 1) ** self.config.length_penalty


Picked = tuple[np.ndarray, np.ndarray, list[int]]  # rows (Q,), columns (Q,) and how many of them each search has


def _likeliest(searches: Sequence[Search], continuations: Continuations) -> Picked:
    rows = np.arange(len(continuations.tokens))
    return rows, np.zeros_like(rows), [1] * len(searches)


def _sample(searches: Sequence[Search], continuations: Continuations) -> Picked:
    """One token a live row; a search's first step draws all its candidates from its only row."""
    config = searches[0].config
    counts = [len(search.live) if search.live[0].ids else config.candidates for search in searches]
    repeats = [1 if search.live[0].ids else config.candidates for search in searches for _ in search.live]
    rows = np.repeat(np.arange(len(repeats)), repeats)
    cumulative = sampling_probabilities(continuations.log_probability, config).cumsum(axis=1)[rows]
    draws = np.concatenate([search.random.random(count) for search, count in zip(searches, counts, strict=True)])
    return rows, (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(axis=1), counts


def _beam(searches: Sequence[Search], continuations: Continuations) -> Picked:
    """The 2K best extensions over all rows of a search: enough for K live ones even where K of them end."""
    stems = np.array([hypothesis.log_probability for search in searches for hypothesis in search.live])
    totals = stems[:, None] + continuations.log_probability  # (R, W)
    found = []
    for block in _blocks(searches):
        best = np.argsort(-totals[block], axis=None, kind="stable")[: 2 * searches[0].config.beam_size]
        best = best[totals[block].flat[best] > -math.inf] + block.start * totals.shape[1]
        found.append(best)
    rows, columns = np.divmod(np.concatenate(found), totals.shape[1])
    return rows, columns, [len(best) for best in found]


def _picks(searches: Sequence[Search], continuations: Continuations) -> list[list[Pick]]:
    """How searches of one config go on, rows counted from the first of each.

    Raises FloatingPointError where the model's probabilities are not numbers.
    """
    if np.isnan(continuations.log_probability).any():
        raise FloatingPointError("the model's probabilities are not numbers: its checkpoint is broken")
    by = {"greedy": _likeliest, "beam": _beam, "sample": _sample}[searches[0].config.method]
    rows, columns, counts = by(searches, continuations)
    starts = np.repeat([block.start for block in _blocks(searches)], counts)
    *of_tokens, marks = continuations
    parts = (rows - starts, *(part[rows, columns] for part in of_tokens), marks[rows, 0])
    every = map(Pick._make, zip(*(part.tolist() for part in parts), strict=True))
    return [list(islice(every, count)) for count in counts]


def sampling_probabilities(log_probability: np.ndarray, config: DecodingConfig) -> np.ndarray:
    """(R, W) log-probabilities in falling order -> (R, W) probabilities to sample from, each row's sum 1.

    The temperature first, then the k likeliest, then the fewest of them that hold `top_p` of what is left.
    """
    scaled = log_probability[:, : config.top_k or None] / config.temperature
    weights = np.exp(scaled - scaled[:, :1])
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    before = probabilities.cumsum(axis=1) - probabilities
    kept = np.where(before < config.top_p, probabilities, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)


def start_searches(
    model: Model, states: Tensor, configs: Sequence[DecodingConfig], seeds: Sequence[Seed]
) -> list[Search]:
    """One search for each row of `states` (N, S)."""
    memory, fed = model.start_decoding(states), model.feed(states)  # (N, M), (N, F)
    searches = [
        Search(*of_one) for of_one in zip(configs, states.split(1), memory.split(1), fed.split(1), seeds, strict=True)
    ]
    followers = [search for search in searches if search.config.follows_prior]
    if followers:
        nothing = model.initial_state(1)
        prior, prior_fed = model.start_decoding(nothing), model.feed(nothing)  # (1, M), (1, F)
        for search in followers:
            search.prior_memory, search.prior_fed = prior, prior_fed
    return searches


def offer_responses(
    model: Model, responses: Responses, searches: Sequence[Search], earlier: Sequence[Sequence[Sequence[int]]]
) -> None:
    """Gives each search that asks for them human responses to choose among, with the log-probabilities they have.

    `earlier` are the utterances that led to each search's state. Those offered are drawn from more that were found, so
    that who asks again is not told the same again; the samples are what they would have been without.
    """
    asking = [(search, said) for search, said in zip(searches, earlier, strict=True) if search.config.retrieved]
    counts = {search.config.retrieved for search, _ in asking}
    drawn = list(
        chain.from_iterable(
            _draw_responses(responses, [one for one in asking if one[0].config.retrieved == count], count)
            for count in counts
        )
    )
    if not drawn:
        return
    utterances = [ids for _, ids in drawn]
    given = log_probabilities(model, torch.cat([search.state for search, _ in drawn]), utterances)
    alone = log_probabilities(model, model.initial_state(len(drawn)), utterances)
    for (search, ids), log_probability, log_prior in zip(drawn, given.tolist(), alone.tolist(), strict=True):
        search.ended.append(Hypothesis(ids, log_probability, log_prior, is_retrieved=True))


def _draw_responses(
    responses: Responses, asking: Sequence[tuple[Search, Sequence[Sequence[int]]]], count: int
) -> list[tuple[Search, tuple[int, ...]]]:
    """`count` responses for each search, all of which ask for as many: more found for a neighbour would change them."""
    states = torch.cat([search.state for search, _ in asking])
    found = responses.find(states, [said for _, said in asking], _DRAWN_FROM * count)
    return [
        (search, ids[place])
        for (search, _), ids in zip(asking, found, strict=True)
        for place in search.random.spawn(1)[0].permutation(len(ids))[:count]
    ]


@torch.no_grad()
def log_probabilities(model: Model, states: Tensor, utterances: Sequence[Sequence[int]]) -> Tensor:
    """log p(y | s) of N utterances in nats, their ends included, in parallel: (N, S) -> (N,)."""
    parts = range(0, len(utterances), _FORCED)
    return torch.cat(
        [_forced(model, states[start : start + _FORCED], utterances[start : start + _FORCED]) for start in parts]
    )


def _forced(model: Model, states: Tensor, utterances: Sequence[Sequence[int]]) -> Tensor:
    targets, lengths = closed(utterances)
    lengths, order = lengths.sort(descending=True, stable=True)
    targets = targets[order]
    inputs = torch.cat([torch.full((len(targets), 1), BOS), targets[:, :-1]], dim=1)
    (words, _, sizes), (wanted, _, _) = pack(inputs, lengths), pack(targets, lengths)
    nats = cross_entropy(model.logits(model.write(words, sizes, states[order])), wanted, reduction="none")
    owners = order[torch.cat([torch.arange(size) for size in sizes])]
    return -torch.zeros(len(order)).index_add_(0, owners, nats)


def step(model: Model, searches: Iterable[Search], speech: Speech = _SPEECH) -> None:
    """Extends every live hypothesis by one token, in one batch.

    If this raises, no search has changed but for the random numbers it drew.
    """
    kinds: dict[DecodingConfig, list[Search]] = {}
    for search in searches:
        if not search.is_done:
            kinds.setdefault(search.config, []).append(search)
    for part, choices, memory in [_extend(model, part, speech) for part in _parts(chain(*kinds.values()))]:
        _accept(part, choices, memory)


def _parts(searches: Iterable[Search]) -> Iterator[list[Search]]:
    """Searches whose rows make one batch: logits of many rows at once would cost more in memory than they gain."""
    part: list[Search] = []
    rows = 0
    for search in searches:
        own = len(search.live) * (2 if search.config.follows_prior else 1)
        if part and rows + own > _ROWS:
            yield part
            part, rows = [], 0
        part.append(search)
        rows += own
    if part:
        yield part


def _extend(model: Model, live: list[Search], speech: Speech) -> tuple[list[Search], list[Choice], Tensor]:
    """The choices of searches that stand kind by kind, and the memory (R, M) after their rows have been read."""
    followers = _followers(live)
    logits, memory = _run_model(model, live, followers)
    choices: list[Choice] = []
    row, prior_row = 0, sum(len(search.live) for search in live)
    for config, group in groupby(live, key=lambda search: search.config):
        alike = list(group)
        rows = sum(len(search.live) for search in alike)
        prior_logits = logits[prior_row : prior_row + rows] if config.follows_prior else None
        found = _continuations(logits[row : row + rows], prior_logits, alike, speech)
        choices += [search.choose(picks) for search, picks in zip(alike, _picks(alike, found), strict=True)]
        row += rows
        prior_row += rows if config.follows_prior else 0
    return live, choices, memory


def _followers(searches: Iterable[Search]) -> list[Search]:
    return [search for search in searches if search.prior_memory is not None]


def _blocks(searches: Sequence[Search], start: int = 0) -> list[slice]:
    """The rows of each search where they follow one another."""
    ends = list(accumulate((len(search.live) for search in searches), initial=start))
    return [slice(begin, end) for begin, end in pairwise(ends)]


def _run_model(model: Model, live: Sequence[Search], followers: Sequence[Search]) -> tuple[Tensor, Tensor]:
    """Logits (R, V) and memory (R, M): all rows of `live`, then once more those of `followers` under a zero state."""
    chained = [*live, *followers]
    tokens = torch.tensor([hypothesis.last for search in chained for hypothesis in search.live])
    memory = torch.cat([search.memory for search in live] + [_known(search.prior_memory) for search in followers])
    fed = torch.cat([search.fed for search in live] + [_known(search.prior_fed) for search in followers])
    if len(tokens) > len(chained):
        fed = fed.repeat_interleave(torch.tensor([len(search.live) for search in chained]), dim=0)
    return model.decode_step(tokens, memory, fed)


def _known(prior: Tensor | None) -> Tensor:
    assert prior is not None  # as it is of every follower
    return prior


def _continuations(
    logits: Tensor, prior_logits: Tensor | None, searches: Sequence[Search], speech: Speech
) -> Continuations:
    """The likeliest allowed tokens of R rows (R, V), with the model's own probabilities."""
    log_probability = logits.log_softmax(dim=1)  # (R, V)
    end = log_probability[:, EOS].clone()
    _forbid(log_probability, searches, speech.never)
    marks = _marks(log_probability, searches, speech)
    values, tokens = largest(log_probability, searches[0].config.breadth or logits.shape[1])  # (R, W)
    nothing_left = values[:, 0] == -math.inf  # a reply at its limit, or one that blocking has painted into a corner
    tokens[nothing_left, 0] = EOS
    values[nothing_left, 0] = end[nothing_left]
    if prior_logits is None:
        return Continuations(tokens.numpy(), values.double().numpy(), np.zeros(values.shape), marks.numpy())
    prior = prior_logits.log_softmax(dim=1).gather(1, tokens)  # twice as fast as logsumexp
    return Continuations(tokens.numpy(), values.double().numpy(), prior.double().numpy(), marks.numpy())


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As `values.topk(count, dim=1)`, several times as fast for a few of many: (R, V) -> (R, W), (R, W).

    The columns are dealt into groups; the W largest lie in the W groups that have the largest maxima.
    """
    rows, width = values.shape
    groups = width // _GROUP
    if count * 4 > groups:
        return values.topk(min(count, width), dim=1)
    dealt = values[:, : groups * _GROUP].unflatten(1, (_GROUP, groups))
    best = dealt.amax(dim=1).topk(count, dim=1, sorted=False).indices  # (R, W)
    columns = (best[:, None] + groups * torch.arange(_GROUP)[:, None]).flatten(1)
    columns = torch.cat([columns, torch.arange(groups * _GROUP, width).expand(rows, -1)], dim=1)  # and those left over
    found, places = values.gather(1, columns).topk(count, dim=1)
    return found, columns.gather(1, places)


def _forbid(logits: Tensor, searches: Sequence[Search], never: Sequence[int]) -> None:
    """Sets to -inf what must not come next; where that is everything, only the end is left."""
    logits[:, list(never)] = -math.inf
    rows: list[int] = []
    tokens: list[int] = []
    full: list[int] = []
    for row, (config, ids) in enumerate((s.config, h.ids) for s in searches for h in s.live):
        blocked = repeating_tokens(ids, config.no_repeat_ngram)
        if len(ids) < config.min_tokens:
            blocked.add(EOS)
        elif len(ids) == config.max_tokens:
            full.append(row)
        rows += [row] * len(blocked)
        tokens += blocked
    if rows:
        logits[rows, tokens] = -math.inf
    if full:
        logits[full] = -math.inf


def _marks(log_probability: Tensor, searches: Sequence[Search], speech: Speech) -> Tensor:
    """The likeliest mark of each of R rows whose sentence still lacks one, EOS of the others: (R, V) -> (R, 1)."""
    config, hypotheses = searches[0].config, [hypothesis for search in searches for hypothesis in search.live]
    if not (config.closing_mark and speech.words):
        return torch.full((len(hypotheses), 1), EOS)
    due = [one.last in speech.words and len(one.ids) < config.max_tokens for one in hypotheses]
    likeliest = torch.tensor(speech.marks)[log_probability[:, speech.marks].argmax(dim=1)]
    return torch.where(torch.tensor(due), likeliest, EOS)[:, None]


def repeating_tokens(ids: tuple[int, ...], n: int) -> set[int]:
    """The last token, and those that would make the last n tokens a repetition; none for n = 0."""
    if n == 0 or not ids:
        return set()
    tail = ids[max(0, len(ids) - n + 1) :]
    return {ids[-1]} | {ids[end] for end in range(n - 1, len(ids)) if ids[end - n + 1 : end] == tail}


def _accept(live: Sequence[Search], choices: Sequence[Choice], memory: Tensor) -> None:
    """Reorders the memory (R, M) once for all searches and hands each its rows."""
    followers = _followers(live)
    of = dict(zip(map(id, live), choices, strict=True))
    blocks = _blocks(live)
    blocks += _blocks(followers, start=blocks[-1].stop)
    chosen = [of[id(search)] for search in chain(live, followers)]
    order = [block.start + parent for block, choice in zip(blocks, chosen, strict=True) for parent in choice.parents]
    parts = memory[torch.tensor(order, dtype=torch.long)].split([len(choice.live) for choice in chosen])
    prior_parts = dict(zip(map(id, followers), parts[len(live) :], strict=True))
    for search, choice, part in zip(live, choices, parts, strict=False):
        search.accept(choice, part, prior_parts.get(id(search)))


def encode_utterances(model: Model, utterances: Sequence[Sequence[int]]) -> Tensor:
    """Ids of N utterances, without EOS -> utterance vectors (N, D)."""
    parts = range(0, len(utterances), _HEARD)
    return torch.cat([model.encode(*closed(utterances[start : start + _HEARD])) for start in parts])


def closed(utterances: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids of N utterances, without EOS -> padded and closed by EOS (N, T), lengths that count it (N,)."""
    lengths = torch.tensor([len(ids) + 1 for ids in utterances])
    padded = torch.full((len(utterances), int(lengths.max())), PAD)
    for row, ids in enumerate(utterances):
        padded[row, : len(ids) + 1] = torch.tensor([*ids, EOS])
    return padded, lengths


def ngrams(ids: Sequence[int], n: int) -> set[tuple[int, ...]]:
    """All runs of n tokens; none for n = 0."""
    return {tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)} if n else set()


class Rated(NamedTuple):
    """A hypothesis among the candidates of one turn, with what its `score` is made of.

        (log p(y|s) - lambda log p(y)) / |y|^penalty  +  w relevance(s, y)  -  v repetition(y)

    The first term is maximum mutual information (Li et al., NAACL 2016, eq. 9), divided as a whole so that its two
    log-probabilities stay comparable.
    """

    hypothesis: Hypothesis
    score: float
    relevance: float
    repetition: float


def rate(
    hypothesis: Hypothesis,
    config: DecodingConfig,
    relevance: float = 0.0,
    said: Set[tuple[int, ...]] = frozenset(),
) -> Rated:
    """How good a reply is among the candidates of one turn; `said` are the n-grams of earlier utterances."""
    repeated = repetition(hypothesis.ids, ngrams(hypothesis.ids, config.no_repeat_ngram), said)
    gain = hypothesis.normalised(config) + config.relevance_weight * relevance
    return Rated(hypothesis, gain - config.repetition_weight * repeated, relevance, repeated)


def repetition(ids: Sequence[int], own: Set[tuple[int, ...]], said: Set[tuple[int, ...]]) -> float:
    """The share of a reply's n-grams that were said before, and the share of its words that it says twice; 0 to 2."""
    again = len(own & said) / len(own) if own else 0.0
    twice = 1 - len(set(ids)) / len(ids) if ids else 0.0
    return again + twice


def best_first(
    hypotheses: Sequence[Hypothesis],
    config: DecodingConfig,
    relevance: Sequence[float],
    earlier: Sequence[Sequence[int]] = (),
) -> list[Rated]:
    """The hypotheses in falling order of their score; word-for-word repeats of an earlier utterance come last."""
    utterances = {tuple(utterance) for utterance in earlier}
    said = set().union(*(ngrams(utterance, config.no_repeat_ngram) for utterance in utterances))
    rated = [rate(hypothesis, config, fits, said) for hypothesis, fits in zip(hypotheses, relevance, strict=True)]
    return sorted(rated, key=lambda one: (one.hypothesis.ids in utterances, -one.score))


@torch.inference_mode()
def decode(
    model: Model,
    states: Tensor,
    config: DecodingConfig = DEFAULT,
    seed: int = 0,
    speech: Speech = _SPEECH,
    max_batch: int = 64,
    earlier: Sequence[Sequence[Sequence[int]]] | None = None,
    responses: Responses | None = None,
) -> list[list[Hypothesis]]:
    """Hypotheses, best first, for each of many dialogue states (N, S), for evaluation offline.

    `earlier` holds, for each state, the ids of the utterances that led to it, which a reply must not repeat.
    At most `max_batch` replies are in the batch at once; one that ends makes room for the next.
    """
    contexts = [()] * len(states) if earlier is None else earlier
    searches = start_searches(model, states, [config] * len(states), [(seed, place) for place in range(len(states))])
    if responses is not None:
        offer_responses(model, responses, searches, contexts)
    waiting, live = deque(searches), list[Search]()
    while waiting or live:
        live += [waiting.popleft() for _ in range(min(len(waiting), max_batch - len(live)))]
        step(model, live, speech)
        live = [search for search in live if not search.is_done]
    found = [
        ranked(model, search.state, [search.ended], [config], [context])[0]
        for search, context in zip(searches, contexts, strict=True)
    ]
    return [[rated.hypothesis for rated in group] for group in found]


def ranked(
    model: Model,
    states: Tensor,
    groups: Sequence[Sequence[Hypothesis]],
    configs: Sequence[DecodingConfig],
    earlier: Sequence[Sequence[Sequence[int]]],
) -> list[list[Rated]]:
    """The candidates of each of n replies, best first; the relevance of all to their `states` (n, S) in one batch."""
    relevance = _relevance(model, states, groups)
    return [
        best_first(group, config, scores, context)
        for group, config, scores, context in zip(groups, configs, relevance, earlier, strict=True)
    ]


def _relevance(model: Model, states: Tensor, groups: Sequence[Sequence[Hypothesis]]) -> list[list[float]]:
    """How well each candidate answers its state; 0 where the model cannot tell or there is nothing to choose."""
    if not model.has_relevance or all(len(group) == 1 for group in groups):
        return [[0.0] * len(group) for group in groups]
    counts = [len(group) for group in groups]
    vectors = encode_utterances(model, [hypothesis.ids for group in groups for hypothesis in group])
    scores = model.relevance(states.repeat_interleave(torch.tensor(counts), dim=0), vectors)
    return [part.tolist() for part in scores.split(counts)]
