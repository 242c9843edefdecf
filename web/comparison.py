"""What else would be said at a turn, for whoever looks inside: the same question decoded in several ways, and by the
checkpoint that was live before."""

import queue
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from chatbot.reply import DEFAULT, GREEDY, DecodingConfig, EngineUnavailable, Reply, ReplyRequest
from web.conversations import Engine
from web.protocol import ProtocolError

WAYS: Mapping[str, DecodingConfig] = {
    "greedy": GREEDY,
    "beam": DecodingConfig(method="beam"),
    "sample": replace(DEFAULT, candidates=1, retrieved=0),
    "chosen": DEFAULT,
}
_SECONDS = 30.0


def compare(engine: Engine, request: ReplyRequest) -> dict[str, Any]:
    """As `web.protocol.Comparison`. Raises ProtocolError where the engine takes no more or takes too long."""
    coming: queue.SimpleQueue[tuple[str, Reply]] = queue.SimpleQueue()
    tickets = []
    try:
        for name, decoding in WAYS.items():
            trial = replace(request, decoding=decoding, is_trial=True)
            tickets.append(engine.submit(trial, lambda text: None, partial(_hand_over, coming, name)))
        replies = dict(coming.get(timeout=_SECONDS) for _ in WAYS)
    except (EngineUnavailable, queue.Empty) as error:
        for ticket in tickets:
            ticket.stop()
        raise ProtocolError("overloaded", "Too many replies are being written; ask again later.", 5_000) from error
    tree = replies["beam"].tree
    if tree is None:
        raise ProtocolError("internal", "This turn could not be decoded again.")
    said = {name: replies[name].text for name in WAYS}
    with suppress(EngineUnavailable):  # the others have been decoded nonetheless
        if before := engine.before(replace(request, is_trial=True)):
            said["before"] = before.text
    return {"variants": [{"name": name, "text": text} for name, text in said.items()], "tree": asdict(tree)}


def _hand_over(coming: "queue.SimpleQueue[tuple[str, Reply]]", name: str, reply: Reply) -> None:
    coming.put((name, reply))
