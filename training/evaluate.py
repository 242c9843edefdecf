"""A checkpoint measured on dialogues it has not seen: what it foretells, what it picks, and what it says.

Its replies are the product's: default decoding, contexts as long as those a conversation is resumed from. Beside them
stand what people said there and two controls: the most frequent response of the corpus, always, and the response that
somebody gave in another dialogue. A measure by which a control does as well as people says nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from chatbot.checkpoint import Checkpoint
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.offline import decode
from chatbot.decoding.retrieval import Responses
from chatbot.reply import DEFAULT, DecodingConfig
from data.tokenizer import detokenise
from data.vocabulary import fold
from training.heldout import Context, Tokens, contexts_of, demand_shared_words, rivals
from training.judges import NOBODY, Judges, encoded, fluency, relevance
from training.measures import Estimate, estimate, is_dull, is_repeat, most_frequent, ngrams, shares, words
from training.scoring import Foretold, Track, foretell, hear, pointwise_gains, relevances, straight

Figures = dict[str, Estimate | None]

RIVALS = 9  # among which a model must find the response that was given
MODEL, HUMANS, FREQUENT, RANDOM = "model", "humans", "most_frequent_reply", "random_human_reply"
_CHUNK = 64  # replies between two moves of the progress bar


class Evaluation(NamedTuple):
    """`report` is the JSON of `chatbot evaluate`; `turns` one record a context, with the replies and their scores."""

    report: dict[str, Any]
    turns: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody who replied to each of N contexts, and what was found of each reply: (N,) under each name.

    `dull` and `repeat` are there always, and whether it was `retrieved` for the model; `relevance` and whether it
    `fits`, which is to be above that of the rival (a tie counts half), where there is an evaluator; `fluency` and
    whether it is `fluent`, which is to lie between the quartiles of the human responses, where there is a language
    model.
    """

    replies: Sequence[Tokens]
    found: dict[str, np.ndarray] = field(default_factory=dict)


def evaluate(
    checkpoint: Checkpoint,
    dialogues: Sequence[Sequence[Tokens]],
    count: int = 2_000,
    seed: int = 0,
    judges: Judges = NOBODY,
    decoding: DecodingConfig = DEFAULT,
    responses: Responses | None = None,
    track: Track[Any] = straight,
) -> Evaluation:
    """Measures a checkpoint on dialogues of two utterances or more, and its replies to `count` contexts of them.

    Among the candidates for a reply are as many of the human `responses` as `decoding` says.

    Raises ValueError with a sentence where most of their words are unknown to it or to a judge.
    """
    demand_shared_words(checkpoint, chain.from_iterable(dialogues))
    for judge in filter(None, judges):
        demand_shared_words(judge, chain.from_iterable(dialogues), "judge (--judges)")
    model, vocabulary, random = checkpoint.model, checkpoint.vocabulary, np.random.default_rng((seed, 1))
    foretold = foretell(model, [encoded(vocabulary, dialogue) for dialogue in dialogues], random, track)
    contexts = contexts_of(dialogues, count, seed)
    heard = [encoded(vocabulary, context.utterances) for context in contexts]
    states = hear(model, heard)
    spoken = _replies(checkpoint, states, heard, decoding, seed, responses, track)
    replies = [[vocabulary.tokens[place] for place in one.ids] for one in spoken]
    speakers, rival = _speakers(contexts, replies, _most_frequent(dialogues), rivals(contexts, 2, random))
    speakers[MODEL].found["retrieved"] = np.array([one.is_retrieved for one in spoken])
    _look_at_words(contexts, speakers)
    _ask(judges, contexts, speakers, rival)

    figures = {who: _reply_figures(contexts, speaker) for who, speaker in speakers.items()}
    recall = _recall(checkpoint, contexts, states, rivals(contexts, RIVALS, random))
    own = foretelling_figures(foretold, dialogues) | {"recall_at_1_of_10": recall} | figures[MODEL]
    figures[MODEL] = own | {"human_mean_length": figures[HUMANS]["mean_length"]}
    report = {
        "checkpoint": checkpoint.id,
        "dialogues": len(dialogues),
        "responses": len(foretold.nats),
        "contexts": len(contexts),
        "seed": seed,
        "decoding": asdict(decoding),
        "retrieved_share": float(speakers[MODEL].found["retrieved"].mean()),
        "recall_by": "relevance" if model.has_relevance else "log p(y|s) - log p(y)",
        "judges": {name: judge and judge.id for name, judge in judges._asdict().items()},
        **_columns(figures, detokenise(speakers[FREQUENT].replies[0])),
        "notes": _notes(own, judges, has_strangers=RANDOM in speakers),
    }
    return Evaluation(report, _turns(contexts, speakers, rival))


def foretelling_figures(foretold: Foretold, dialogues: Sequence[Sequence[Any]]) -> Figures:
    """What a model foretells of every response of the corpus."""
    last = foretold.turn == np.array([len(dialogue) - 1 for dialogue in dialogues])[foretold.dialogue]
    all_of_them, shuffled = np.ones_like(last), np.isfinite(foretold.nats_shuffled)

    def perplexity(nats: np.ndarray, rows: np.ndarray) -> Estimate | None:
        return estimate(nats[rows], foretold.tokens[rows], foretold.dialogue[rows], np.exp)

    return {
        "perplexity": perplexity(foretold.nats, all_of_them),
        "last_utterance_perplexity": perplexity(foretold.nats, last),
        "shuffled_perplexity": perplexity(foretold.nats_shuffled, shuffled),
        "word_error_rate": estimate(foretold.errors, foretold.tokens, foretold.dialogue),
    }


def _replies(
    checkpoint: Checkpoint,
    states: Tensor,
    heard: Sequence[Sequence[Sequence[int]]],
    decoding: DecodingConfig,
    seed: int,
    responses: Responses | None,
    track: Track[Any],
) -> list[Hypothesis]:
    """The reply to each state (N, S), which was reached over the utterances heard."""
    replies: list[Hypothesis] = []
    speech = checkpoint.vocabulary.speech()
    for start in track(range(0, len(states), _CHUNK), "Writing replies"):
        rows = slice(start, start + _CHUNK)
        of_chunk = int(np.random.SeedSequence((seed, start)).generate_state(1)[0])
        found = decode(
            checkpoint.model,
            states[rows],
            decoding,
            of_chunk,
            speech,
            earlier=heard[rows],
            responses=responses,
            own_responses=checkpoint.responses,
            judge=checkpoint.judge,
        )
        replies += [hypotheses[0] for hypotheses in found]
    return replies


def _most_frequent(dialogues: Sequence[Sequence[Tokens]]) -> Tokens:
    texts = [(detokenise(tokens).lower(), tokens) for dialogue in dialogues for tokens in dialogue[1:]]
    return dict(reversed(texts))[most_frequent(text for text, _ in texts)]


def _speakers(
    contexts: Sequence[Context], replies: Sequence[Tokens], frequent: Tokens, strangers: np.ndarray | None
) -> tuple[dict[str, Speaker], list[Tokens]]:
    """Everybody who replies, and the human response of yet another dialogue (the rival) that each is compared with.

    Without strangers (N, 2) there is no random human reply, and no rival.
    """
    speakers = {
        MODEL: Speaker(replies),
        HUMANS: Speaker([context.response for context in contexts]),
        FREQUENT: Speaker([frequent] * len(contexts)),
    }
    if strangers is None:
        return speakers, []
    stranger, rival = ([contexts[place].response for place in column] for column in strangers.T)
    return speakers | {RANDOM: Speaker(stranger)}, rival


def _look_at_words(contexts: Sequence[Context], speakers: dict[str, Speaker]) -> None:
    earlier = [[detokenise(tokens) for tokens in context.utterances] for context in contexts]
    for speaker in speakers.values():
        texts = [detokenise(reply) for reply in speaker.replies]
        speaker.found["dull"] = np.array([is_dull(text) for text in texts])
        speaker.found["repeat"] = np.array([is_repeat(*pair) for pair in zip(texts, earlier, strict=True)])


def _ask(judges: Judges, contexts: Sequence[Context], speakers: dict[str, Speaker], rival: Sequence[Tokens]) -> None:
    """Adds what the judges find, as far as there are judges, and rivals to be compared with."""
    if judges.evaluator is not None and rival:
        offered = list(zip(*(speaker.replies for speaker in speakers.values()), rival, strict=True))
        *found, to_beat = relevance(judges.evaluator, [context.utterances for context in contexts], offered).T
        for speaker, own in zip(speakers.values(), found, strict=True):
            speaker.found.update(relevance=own, fits=(own > to_beat) + (own == to_beat) / 2)
    if judges.language_model is not None:
        for speaker in speakers.values():
            speaker.found["fluency"] = fluency(judges.language_model, speaker.replies)
        low, high = np.percentile(speakers[HUMANS].found["fluency"], (25, 75))
        for speaker in speakers.values():
            speaker.found["fluent"] = (low <= speaker.found["fluency"]) & (speaker.found["fluency"] <= high)


def _recall(
    checkpoint: Checkpoint, contexts: Sequence[Context], states: Tensor, strangers: np.ndarray | None
) -> Estimate | None:
    """How often the response that was given comes first among itself and nine of other dialogues."""
    return None if strangers is None else _mean(picked(checkpoint, contexts, states, strangers), contexts)


def picked(checkpoint: Checkpoint, contexts: Sequence[Context], states: Tensor, strangers: np.ndarray) -> np.ndarray:
    """Whether the response given to each of N states is ranked above those of strangers: (N, S), (N, K) -> (N,)."""
    responses = encoded(checkpoint.vocabulary, [context.response for context in contexts])
    offered = [[responses[own], *(responses[other] for other in row)] for own, row in enumerate(strangers)]
    rate = relevances if checkpoint.model.has_relevance else pointwise_gains
    ratings = rate(checkpoint.model, states, offered)  # (N, 1 + K)
    first: np.ndarray = ratings[:, 0] > ratings[:, 1:].max(axis=1)
    return first


def _reply_figures(contexts: Sequence[Context], speaker: Speaker) -> Figures:
    folded = [[fold(token) for token in reply] for reply in speaker.replies]
    lengths = [len(reply) for reply in speaker.replies]
    said = [[tuple(words(detokenise(reply)))] for reply in speaker.replies]
    dialogues = [context.dialogue for context in contexts]
    found = speaker.found
    return {
        "distinct_1": estimate(shares([ngrams(reply, 1) for reply in folded]), lengths, dialogues),
        "distinct_2": estimate(shares([ngrams(reply, 2) for reply in folded]), lengths, dialogues),
        "unique_share": _mean(shares(said), contexts),
        "dull_share": _mean(found["dull"], contexts),
        "repeat_share": _mean(found["repeat"], contexts),
        "fit_share": _mean(found.get("fits"), contexts),
        "fluency_share": _mean(found.get("fluent"), contexts),
        "mean_length": _mean(lengths, contexts),
    }


def _mean(values: Sequence[float] | np.ndarray | None, contexts: Sequence[Context]) -> Estimate | None:
    if values is None:
        return None
    return estimate(values, np.ones(len(contexts)), [context.dialogue for context in contexts])


def _columns(figures: dict[str, Figures], frequent: str) -> dict[str, Any]:
    """The model's own figures, and under names of their own those of people and of the controls."""
    controls = {
        FREQUENT: {"reply": frequent, **_column(figures[FREQUENT])},
        RANDOM: _column(figures[RANDOM]) if RANDOM in figures else None,
    }
    return {**_column(figures[MODEL]), HUMANS: _column(figures[HUMANS]), "controls": controls}


def _column(figures: Figures) -> dict[str, Any]:
    """Values by name, and under `intervals` their intervals by the same names."""
    values = {name: figure and figure.value for name, figure in figures.items()}
    return {**values, "intervals": {name: figure and figure.interval for name, figure in figures.items()}}


def _notes(own: Figures, judges: Judges, has_strangers: bool) -> list[str]:
    """Why a figure is missing, in a sentence each."""
    causes = {
        "Fit and fluency need the two judges; train them with `chatbot judges PREPARED`.": None in judges,
        "The random human reply, and fit, need contexts of three dialogues with different responses; give a larger "
        "corpus.": not has_strangers,
        "Recall needs contexts of ten dialogues with different responses; give a larger corpus or more contexts.": (
            own["recall_at_1_of_10"] is None
        ),
        "A single dialogue has no other to be shuffled with; give a larger corpus.": own["shuffled_perplexity"] is None,
    }
    return [cause for cause, holds in causes.items() if holds]


def _turns(contexts: Sequence[Context], speakers: dict[str, Speaker], rival: Sequence[Tokens]) -> list[dict[str, Any]]:
    """One record a context: what was said before, what everybody replies, and what was found of it."""
    return [
        {
            "dialogue": context.dialogue,
            "turn": context.turn,
            "context": [detokenise(tokens) for tokens in context.utterances],
            "reply": detokenise(speakers[MODEL].replies[place]),
            "human": detokenise(context.response),
            RANDOM: detokenise(speakers[RANDOM].replies[place]) if RANDOM in speakers else None,
            "rival": detokenise(rival[place]) if rival else None,
            "scores": {
                who: {name: values[place].item() for name, values in speaker.found.items()}
                for who, speaker in speakers.items()
            },
        }
        for place, context in enumerate(contexts)
    ]
