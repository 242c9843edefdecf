"""The step that extends the hypotheses of every search by a token, in one call of the model.

One reply's candidates, a beam, and the replies of unrelated conversations are all rows of one batch; a search may join
or leave between two steps.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby

import torch
from torch import Tensor

from chatbot.decoding.continuations import continuations_of
from chatbot.decoding.network import Model
from chatbot.decoding.picking import pick
from chatbot.decoding.search import Choice, Search, row_blocks
from chatbot.reply import DecodingConfig
from data.vocabulary import Speech

UNKNOWN_SPEECH = Speech()  # of a vocabulary of which nothing is known
_ROWS = 128  # of a step, unless one search has more: logits of many rows cost more in memory than they gain


def step(model: Model, searches: Iterable[Search], speech: Speech = UNKNOWN_SPEECH) -> None:
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
        found = continuations_of(logits[row : row + rows], prior_logits, alike, speech)
        choices += [search.choose(picks) for search, picks in zip(alike, pick(alike, found), strict=True)]
        row += rows
        prior_row += rows if config.follows_prior else 0
    return live, choices, memory


def _followers(searches: Iterable[Search]) -> list[Search]:
    return [search for search in searches if search.prior_memory is not None]


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


def _accept(live: Sequence[Search], choices: Sequence[Choice], memory: Tensor) -> None:
    """Reorders the memory (R, M) once for all searches and hands each its rows."""
    followers = _followers(live)
    of = dict(zip(map(id, live), choices, strict=True))
    blocks = row_blocks(live)
    blocks += row_blocks(followers, start=blocks[-1].stop)
    chosen = [of[id(search)] for search in chain(live, followers)]
    order = [block.start + parent for block, choice in zip(blocks, chosen, strict=True) for parent in choice.parents]
    parts = memory[torch.tensor(order, dtype=torch.long)].split([len(choice.live) for choice in chosen])
    prior_parts = dict(zip(map(id, followers), parts[len(live) :], strict=True))
    for search, choice, part in zip(live, choices, parts, strict=False):
        search.accept(choice, part, prior_parts.get(id(search)))
