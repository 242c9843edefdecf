"""What two checkpoints reply to the same utterances, side by side."""

from collections.abc import Sequence

from rich.table import Table

from chatbot.checkpoint import Checkpoint
from chatbot.engine import ChatEngine
from chatbot.reply import DEFAULT, GREEDY, DecodingConfig, Reply, ReplyRequest

# Film lines by which talks on adversarial training show what it changes.
SAMPLE = (
    "tell me ... how long have you had this falling sickness ?",
    "so i had the doctors test sammy 's response to conditioning .",
    "they didn 't have much success with this problem commander .",
)
# As a user meets the checkpoint, and what it thinks likeliest, in which neither chance nor reranking has a part.
_DECODINGS = {"as in chat": DEFAULT, "greedy": GREEDY}


def side_by_side(checkpoints: dict[str, Checkpoint], utterances: Sequence[str], seed: int) -> Table:
    """A table of the replies of named checkpoints to each utterance, each said out of the blue.

    What a checkpoint's index gave it to say is marked, and so are the fixed answers that any checkpoint would give, for
    they tell nothing of how the checkpoint writes.
    Raises RuntimeError with a sentence where a checkpoint cannot reply.
    """
    table = Table("they hear", "decoding", *checkpoints, show_lines=True)
    replies = {
        decoding: [_replies(name, one, utterances, config, seed) for name, one in checkpoints.items()]
        for decoding, config in _DECODINGS.items()
    }
    for place, utterance in enumerate(utterances):
        for decoding, columns in replies.items():
            heard = utterance if decoding == next(iter(replies)) else ""
            table.add_row(heard, decoding, *(column[place] for column in columns))
    return table


def _replies(
    name: str, checkpoint: Checkpoint, utterances: Sequence[str], config: DecodingConfig, seed: int
) -> list[str]:
    with ChatEngine(checkpoint, config) as engine:
        replies = [engine.reply(ReplyRequest(utterance, seed=seed)) for utterance in utterances]
    if any(reply.status == "failed" for reply in replies):
        raise RuntimeError(f"{name} could not answer: its checkpoint may be broken. Compare another.")
    return [_marked(reply) for reply in replies]


def _marked(reply: Reply) -> str:
    kinds = {"retrieved": reply.is_retrieved, "fixed answer": reply.guarded}
    return reply.text + "".join(f" ({kind})" for kind, holds in kinds.items() if holds)
