"""Hypotheses for many dialogue states, for evaluation offline."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from chatbot.choosing.sense import SenseJudge
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.network import Model
from chatbot.decoding.ranking import ranked
from chatbot.decoding.retrieval import Responses, offer_retrieved, offer_written
from chatbot.decoding.search import Search, start_searches
from chatbot.decoding.stepping import UNKNOWN_SPEECH, step
from chatbot.processor import FreeCores
from chatbot.reply import DEFAULT, DecodingConfig
from data.vocabulary import Speech


@torch.inference_mode()
def decode(
    model: Model,
    states: Tensor,
    config: DecodingConfig = DEFAULT,
    seed: int = 0,
    speech: Speech = UNKNOWN_SPEECH,
    max_batch: int = 64,
    earlier: Sequence[Sequence[Sequence[int]]] | None = None,
    responses: Responses | None = None,
    own_responses: Responses | None = None,
    judge: SenseJudge | None = None,
) -> list[list[Hypothesis]]:
    """Hypotheses, best first, for each of many dialogue states (N, S), for evaluation offline.

    `earlier` holds, for each state, the ids of the utterances that led to it, which a reply must not repeat.
    At most `max_batch` replies are in the batch at once; one that ends makes room for the next.
    """
    contexts = [()] * len(states) if earlier is None else earlier
    seeds, is_judged = [(seed, place) for place in range(len(states))], judge is not None
    searches = start_searches(model, states, [config] * len(states), seeds, is_judged)
    if responses is not None:
        offer_retrieved(model, responses, searches, contexts, is_judged)
    if own_responses is not None and judge is not None:
        offer_written(own_responses, searches, contexts)
    waiting, live, cores = deque(searches), list[Search](), FreeCores()
    while waiting or live:
        cores.look()
        live += [waiting.popleft() for _ in range(min(len(waiting), max_batch - len(live)))]
        step(model, live, speech)
        live = [search for search in live if not search.is_done]
    found = [
        ranked(model, search.state, [search.ended], [config], [context], judge)[0]
        for search, context in zip(searches, contexts, strict=True)
    ]
    return [[rated.hypothesis for rated in group] for group in found]
