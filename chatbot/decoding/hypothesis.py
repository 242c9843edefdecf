"""Hypotheses: what was decoded or retrieved for one reply, with its log-probability."""

from dataclasses import dataclass

from chatbot.reply import DecodingConfig, Source
from data.vocabulary import BOS


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Decoded ids without BOS and EOS; natural logarithms of the model's own probabilities, EOS counted once ended."""

    ids: tuple[int, ...] = ()
    log_probability: float = 0.0  # log p(y | state)
    log_prior: float = 0.0  # log p(y | zero state); 0 where the search does not follow it
    source: Source = "decoded"

    @property
    def is_retrieved(self) -> bool:
        """Whether a person said it in another dialogue."""
        return self.source == "retrieved"

    @property
    def is_own(self) -> bool:
        """Whether the network decoded it, or more than it."""
        return self.source in ("decoded", "shortened")

    @property
    def last(self) -> int:
        return self.ids[-1] if self.ids else BOS

    def normalised(self, config: DecodingConfig) -> float:
        """(log p(y|s) - lambda log p(y)) / |y|^penalty for an ended hypothesis, |y| counting EOS; both terms alike."""
        gain = self.log_probability - config.mmi_lambda * self.log_prior
        return gain / (len(self.ids) + 1) ** config.length_penalty
