"""What else would be said at a turn, for whoever looks inside: the same question decoded in several ways, and by the
checkpoint that was live before."""

import queue
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import structlog

from chatbot.checkpoint import CheckpointError, before_live, live_id, load_checkpoint
from chatbot.decoding import DEFAULT, GREEDY, DecodingConfig
from chatbot.engine import ChatEngine
from chatbot.reply import Reply, ReplyRequest
from web.conversations import Engine
from web.protocol import ProtocolError

WAYS: Mapping[str, DecodingConfig] = {
    "greedy": GREEDY,
    "beam": DecodingConfig(method="beam"),
    "sample": replace(DEFAULT, candidates=1, retrieved=0),
    "chosen": DEFAULT,
}
_SECONDS = 30.0
_loading = threading.Lock()  # one further model in memory at a time

log = structlog.get_logger()


def compare(engine: Engine, request: ReplyRequest) -> dict[str, Any]:
    """As `web.protocol.Comparison`. Raises ProtocolError where the engine takes no more or takes too long."""
    coming: queue.SimpleQueue[tuple[str, Reply]] = queue.SimpleQueue()
    tickets = []
    try:
        for name, decoding in WAYS.items():
            trial = replace(request, decoding=decoding, is_trial=True)
            tickets.append(engine.submit(trial, lambda text: None, partial(_hand_over, coming, name)))
        replies = dict(coming.get(timeout=_SECONDS) for _ in WAYS)
    except (RuntimeError, queue.Empty) as error:  # EngineUnavailable is the former
        for ticket in tickets:
            ticket.stop()
        raise ProtocolError("overloaded", "Too many replies are being written; ask again later.", 5_000) from error
    tree = replies["beam"].tree
    if tree is None:
        raise ProtocolError("internal", "This turn could not be decoded again.")
    said = {name: replies[name].text for name in WAYS} | _said_before(engine, request)
    return {"variants": [{"name": name, "text": text} for name, text in said.items()], "tree": asdict(tree)}


def _said_before(engine: Engine, request: ReplyRequest) -> dict[str, str]:
    """Under "before", what the checkpoint says to which a rollback would lead, if there is one; it is not kept."""
    folder = before_live() if engine.checkpoint.id == live_id() else None
    if folder is None or not _loading.acquire(timeout=_SECONDS):
        return {}
    try:
        with ChatEngine(load_checkpoint(folder)) as before:
            return {"before": before.reply(replace(request, is_trial=True)).text}
    except CheckpointError as error:  # the others have been decoded nonetheless
        log.warning("checkpoint before not compared", reason=str(error))
        return {}
    finally:
        _loading.release()


def _hand_over(coming: "queue.SimpleQueue[tuple[str, Reply]]", name: str, reply: Reply) -> None:
    coming.put((name, reply))
