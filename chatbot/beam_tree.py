"""Beam search as a tree of words: which were followed from where, and how probable each was there."""

import math
from collections.abc import Callable, Iterable, Sequence

from chatbot.decoding.hypothesis import Hypothesis
from chatbot.reply import Word
from data.tokenizer import detokenise
from data.vocabulary import Vocabulary


def beam_tree(
    beams: Iterable[Sequence[Hypothesis]],
    ended: Sequence[Hypothesis],
    vocabulary: Vocabulary,
    named: Callable[[str], str] = str,
) -> Word:
    """`beams` are the hypotheses that lived after each step; a word's probability is that after those before it.
    `named` makes of what the network says what people read.

    The root has no word, nor has what ends a branch.
    """
    root = Word("", 1.0, [])
    known: dict[tuple[int, ...], tuple[Word, float]] = {(): (root, 0.0)}
    for hypothesis in (hypothesis for beam in beams for hypothesis in beam):
        if hypothesis.ids and hypothesis.ids not in known:
            parent, before = known[hypothesis.ids[:-1]]
            text = named(detokenise([vocabulary.tokens[hypothesis.ids[-1]]]))  # it does not begin a sentence
            word = Word(text, math.exp(hypothesis.log_probability - before), [])
            parent.children.append(word)
            known[hypothesis.ids] = (word, hypothesis.log_probability)
    for hypothesis in ended:
        parent, before = known[hypothesis.ids]
        parent.children.append(Word("", math.exp(hypothesis.log_probability - before), []))
    return root
