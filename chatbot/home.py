"""Where what is made at run time is kept: $CHATBOT_HOME, or `var` in the working folder."""

import os
from pathlib import Path


def home() -> Path:
    """The folder of promoted checkpoints and of the database."""
    return Path(os.environ.get("CHATBOT_HOME", "var"))
