"""The search that found the default decoding: candidates are drawn once for each way of sampling, and every weighting
of the score then chooses among the same ones.

    python benchmarks/tune_decoding.py CHECKPOINT PREPARED [--judges FOLDER] [--contexts 300]

Where the checkpoint has an index of human responses (`chatbot models index`), several numbers of them are tried as
well, beside the default samples. Contexts are of the validation split, never of the test split that figures are
reported on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from chatbot.checkpoint import Checkpoint, load_checkpoint
from chatbot.decoding.hypothesis import Hypothesis
from chatbot.decoding.offline import decode
from chatbot.decoding.ranking import best_first
from chatbot.decoding.retrieval import Responses
from chatbot.reply import DEFAULT, DecodingConfig
from chatbot.retrieval import open_responses
from data.store import TokenStore
from data.tokenizer import detokenise
from data.vocabulary import Vocabulary
from training.heldout import Context, contexts_of, rivals
from training.judges import Judges, default_folder, encoded, fluency, load_judges, relevance
from training.measures import distinct, is_dull, is_repeat, unique_share
from training.scoring import hear, relevances

SAMPLINGS = [
    replace(DEFAULT, temperature=temperature, top_k=top_k, top_p=top_p, candidates=20, retrieved=0)
    for temperature, top_k, top_p in ((0.8, 40, 0.9), (1.0, 40, 0.95), (1.0, 200, 0.95), (1.2, 40, 0.95))
]
RETRIEVALS = [replace(DEFAULT, retrieved=retrieved) for retrieved in (0, 1, 2, 3, 4, 8)]
WEIGHTINGS = {
    "mmi_lambda": (0.4, 0.6, 0.8, 1.0),
    "relevance_weight": (0.15, 0.25, 0.5),
    "length_penalty": (1.0, 0.7),
    "repetition_weight": (3.0,),
}


class Pool(NamedTuple):
    """All that any weighting can choose among: for each context its candidates and what is known of each."""

    candidates: list[list[Hypothesis]]
    relevance: list[list[float]]  # the model's own
    fits: list[list[float]]  # the evaluator's verdict
    fluent: list[list[float]]  # the language model's


class Questions(NamedTuple):
    """Contexts as tokens, as the checkpoint's ids, and what is needed to judge a reply to them."""

    contexts: list[Context]
    heard: list[list[list[int]]]
    rival: list[Sequence[str]]
    quartiles: tuple[float, float]


def questions(checkpoint: Checkpoint, prepared: Path, count: int, judges: Judges) -> Questions:
    tokens = Vocabulary.load(prepared / "vocabulary.json").tokens
    store = TokenStore.open(prepared / "dialogues" / "validation")
    dialogues = [[[tokens[place] for place in said] for said in store[number]] for number in range(len(store))]
    contexts = contexts_of(dialogues, count, seed=0)
    strangers = rivals(contexts, 1, np.random.default_rng(0))
    assert strangers is not None, "more contexts are needed"
    assert judges.language_model is not None, "train the judges first: chatbot judges"
    human = fluency(judges.language_model, [context.response for context in contexts])
    low, high = np.percentile(human, (25, 75))
    heard = [encoded(checkpoint.vocabulary, context.utterances) for context in contexts]
    return Questions(contexts, heard, [contexts[place].response for place in strangers[:, 0]], (low, high))


def draw(
    checkpoint: Checkpoint, asked: Questions, decoding: DecodingConfig, responses: Responses | None, judges: Judges
) -> Pool:
    model, speech = checkpoint.model, checkpoint.vocabulary.speech()
    states = hear(model, asked.heard)
    candidates = decode(model, states, decoding, speech=speech, earlier=asked.heard, responses=responses)
    own, fits, fluent = [], [], []
    assert judges.evaluator is not None
    assert judges.language_model is not None
    for row, group in enumerate(track(candidates, "Judging candidates")):
        own.append(relevances(model, states[row : row + 1], [[one.ids for one in group]])[0].tolist())
        said = [spoken(checkpoint, one) for one in group]
        *found, rival = relevance(judges.evaluator, [asked.contexts[row].utterances], [[*said, asked.rival[row]]])[0]
        fits.append([float(one > rival) for one in found])
        low, high = asked.quartiles
        fluent.append([float(low <= one <= high) for one in fluency(judges.language_model, said)])
    return Pool(candidates, own, fits, fluent)


def spoken(checkpoint: Checkpoint, hypothesis: Hypothesis) -> list[str]:
    return [checkpoint.vocabulary.tokens[place] for place in hypothesis.ids]


def figures(checkpoint: Checkpoint, asked: Questions, pool: Pool, decoding: DecodingConfig) -> dict[str, float]:
    """What would be measured of the replies that a weighting chooses."""
    chosen = [
        group.index(best_first(group, decoding, own, heard)[0].hypothesis)
        for group, own, heard in zip(pool.candidates, pool.relevance, asked.heard, strict=True)
    ]
    picked = list(zip(pool.candidates, chosen, strict=True))
    replies = [spoken(checkpoint, group[place]) for group, place in picked]
    texts = [detokenise(reply) for reply in replies]
    earlier = [[detokenise(said) for said in context.utterances] for context in asked.contexts]
    return {
        "taken": float(np.mean([group[place].is_retrieved for group, place in picked])),
        "unique": unique_share(texts),
        "dull": float(np.mean([is_dull(text) for text in texts])),
        "repeats": float(np.mean([is_repeat(*pair) for pair in zip(texts, earlier, strict=True)])),
        "distinct_2": distinct(replies, 2),
        "fit": float(np.mean([pool.fits[row][place] for row, place in enumerate(chosen)])),
        "fluency": float(np.mean([pool.fluent[row][place] for row, place in enumerate(chosen)])),
        "length": float(np.mean(list(map(len, replies)))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--judges", type=Path, default=default_folder())
    parser.add_argument("--contexts", type=int, default=300)
    options = parser.parse_args()
    checkpoint, judges = load_checkpoint(options.checkpoint), load_judges(options.judges)
    asked = questions(checkpoint, options.prepared, options.contexts, judges)
    human = float(np.mean([len(context.response) for context in asked.contexts]))
    table = Table(title=f"{checkpoint.id}, {len(asked.contexts)} contexts, people say {human:.1f} tokens")
    names = ("temperature", "top_k", "top_p", "retrieved", *WEIGHTINGS)
    responses = open_responses(checkpoint)
    rows = []
    for sampling in (*SAMPLINGS, *(RETRIEVALS if responses else ())):
        pool = draw(checkpoint, asked, sampling, responses, judges)
        for values in product(*WEIGHTINGS.values()):
            decoding = replace(sampling, **dict(zip(WEIGHTINGS, values, strict=True)))
            rows.append((decoding, figures(checkpoint, asked, pool, decoding)))
    for name in (*names, *rows[0][1]):
        table.add_column(name, justify="right")
    for decoding, found in rows:
        table.add_row(*(f"{getattr(decoding, name)}" for name in names), *(f"{value:.3f}" for value in found.values()))
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
