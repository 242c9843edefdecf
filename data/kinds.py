"""Words of a kind (names, towns, jobs, colours, numbers), any of which may stand for another in a conversation."""

from pathlib import Path

KINDS = Path(__file__).with_suffix(".toml")
