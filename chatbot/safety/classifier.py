"""A classifier of utterances: of which kind one is that the model must not answer. It is trained by
`python -m training.safety`."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

import torch
from safetensors import safe_open
from torch import Tensor

from chatbot.checkpoint import save_weights
from chatbot.safety.features import Features, features_of
from chatbot.safety.network import Network
from chatbot.safety.wording import plain, stretches, words

NONE = "none"
CATEGORIES = ("suicide", "violence", "abuse", "minor", "emergency", "dosage", "human")
WEIGHTS = Path(__file__).with_name("weights.safetensors")
_WORDS = "the words"  # names among what is stored
_THRESHOLD, _SEEN = "threshold", "seen"


class Verdict(NamedTuple):
    """The category that fits best besides NONE, and by how many nats all of them together fit better than NONE."""

    category: str
    margin: float


class Classifier:
    def __init__(self, network: Network, words: Sequence[str], threshold: float = 0.0, seen: str = "") -> None:
        """The `words` stand in the network's order behind its padding. A margin above the `threshold` counts as
        found. `seen` is the `fingerprint` of what it learned from."""
        self.network, self.words, self.threshold, self.seen = network.eval(), words, threshold, seen
        self._places = {word: place for place, word in enumerate(words, 1)}

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Self:
        with safe_open(path, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no mapping
            metadata = stored.metadata()
        names = bytes(tensors.pop(_WORDS).tolist()).decode().split()
        tensors = {name: _unpacked(name, tensors) for name in tensors if not name.endswith(_SCALE)}
        known, size = tensors["words.weight"].shape
        network = Network(known, size, len(CATEGORIES) + 1)
        network.load_state_dict(tensors)
        return cls(network, names, float(metadata[_THRESHOLD]), metadata[_SEEN])

    def save(self, path: Path = WEIGHTS) -> None:
        """In 8 bits what is large, in 16 what is not."""
        tensors = {key: value for name, one in self.network.state_dict().items() for key, value in _packed(name, one)}
        tensors[_WORDS] = torch.tensor(list(" ".join(self.words).encode()), dtype=torch.uint8)
        save_weights(tensors, path, {_THRESHOLD: str(self.threshold), _SEEN: self.seen})

    def features(self, words: Sequence[str]) -> Features:
        return features_of(words, self._places)

    def category_of(self, text: str, threshold: float | None = None) -> str | None:
        """None where its margin is not above the threshold."""
        verdict = self.judge(text)
        return verdict.category if verdict.margin > (self.threshold if threshold is None else threshold) else None

    def judge(self, text: str) -> Verdict:
        """Of the stretch of the text that is the most dangerous."""
        margins, best = self.margins([self.features(one) for one in stretches(text)])
        place = int(margins.argmax()) if len(margins) else None
        return Verdict(NONE, -torch.inf) if place is None else Verdict(CATEGORIES[best[place]], float(margins[place]))

    @torch.inference_mode()
    def margins(self, batch: Sequence[Features]) -> tuple[Tensor, Tensor]:
        """The margins, and the places of the best categories."""
        if not batch:
            return torch.empty(0), torch.empty(0)
        filtered, second = self.network(batch)
        logits = filtered + second
        return logits[:, :-1].logsumexp(1) - logits[:, -1], logits[:, :-1].argmax(1)

    def fingerprint(self, examples: Iterable[tuple[str, str]]) -> str:
        """Of categories and utterances as it sees them: another one after a change of these or of the features."""
        seen = hashlib.sha256()
        for category, text in examples:
            found = self.features(words(plain(text)))
            seen.update(repr((category, found.words, found.pieces)).encode() + found.rows.tobytes())
        return seen.hexdigest()


@cache
def classifier() -> Classifier:
    """The shipped one."""
    return Classifier.load()


_SCALE = ".scale"
_LARGE = 1 << 18  # numbers


def _packed(name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
    if tensor.numel() < _LARGE:
        yield name, tensor.half()
        return
    scale = tensor.abs().amax(0).clamp(min=1e-4) / 127
    yield name, (tensor / scale).round().to(torch.int8)
    yield name + _SCALE, scale.half()


def _unpacked(name: str, tensors: dict[str, Tensor]) -> Tensor:
    scale = tensors.get(name + _SCALE)
    return tensors[name].float() * (1 if scale is None else scale.float())
