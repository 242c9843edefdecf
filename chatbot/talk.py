"""`chatbot talk`: a conversation in the terminal, or line by line through a pipe."""

import contextlib
import io
import os
import queue
import sys
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import click

from chatbot.reply import CONTEXT_TURNS, DialogueState, Reply, ReplyRequest
from data.cleaning import is_blank
from data.errors import UserError, told_to_user

if TYPE_CHECKING:
    from chatbot.engine import ChatEngine


@click.command()
@click.option(
    "--checkpoint",
    "where",
    default="live",
    metavar="NAME",
    help="Who answers: live, default or a checkpoint's folder (live).",
)
@click.option("--greedy", is_flag=True, help="Say the likeliest word at each step instead of choosing among samples.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes sampled replies repeatable.")
def talk(where: str, greedy: bool, seed: int | None) -> None:
    """Talk to the chatbot.

    In a terminal, Ctrl-C cuts a reply short and Ctrl-D ends the conversation. Fed from a pipe, each line is an
    utterance and each reply is printed on a line of its own, with nothing else; blank lines are passed over.

    CHATBOT_HELP in the environment says where a person in danger finds help, as for `chatbot serve`.
    """
    try:
        in_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        with _engine(where, greedy) as engine:
            converse = _talk_in_terminal if in_terminal else _talk_through_pipe
            converse(engine, _Dialogue(seed))
    except KeyboardInterrupt:
        sys.exit(130)


def _engine(where: str, greedy: bool) -> "ChatEngine":
    from chatbot.checkpoint import load_checkpoint
    from chatbot.engine import ChatEngine
    from chatbot.reply import DEFAULT, GREEDY
    from chatbot.safety.answers import HELP
    from chatbot.safety.guard import Guard
    from chatbot.shelf import CheckpointError

    with told_to_user(CheckpointError):
        guard = Guard(os.environ.get("CHATBOT_HELP") or HELP)
        return ChatEngine(load_checkpoint(where), GREEDY if greedy else DEFAULT, guard=guard)


class _Dialogue:
    """What one turn leaves to the next: the state, and the last texts."""

    def __init__(self, seed: int | None) -> None:
        self._context: deque[str] = deque(maxlen=CONTEXT_TURNS)
        self._state: DialogueState | None = None
        self._seed = seed

    def request(self, utterance: str) -> ReplyRequest:
        return ReplyRequest(utterance, tuple(self._context), self._state, seed=self._seed)

    def remember(self, utterance: str, reply: Reply) -> None:
        """Raises UserError where the reply failed."""
        if reply.status == "failed":
            raise UserError("The model could not answer: its checkpoint may be broken. Try --checkpoint default.")
        self._context.extend(text for text in (utterance, reply.text) if text)
        self._state = reply.state_after
        self._seed = None if self._seed is None else self._seed + 1  # else the same words came to mind every turn


def _talk_through_pipe(engine: "ChatEngine", dialogue: _Dialogue) -> None:
    for utterance in _lines(sys.stdin.buffer):
        reply = engine.reply(dialogue.request(utterance))
        dialogue.remember(utterance, reply)
        click.echo(reply.text)


def _lines(stream: BinaryIO) -> Iterator[str]:
    """Lines that say something, whatever their bytes are."""
    for line in stream:
        utterance = line.decode("utf-8-sig", errors="replace").strip()
        if not is_blank(utterance):
            yield utterance


def _talk_in_terminal(engine: "ChatEngine", dialogue: _Dialogue) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives input() line editing and history)

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    while True:
        try:
            utterance = input("You: ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        if not is_blank(utterance):
            click.secho("Bot: ", fg="green", bold=True, nl=False)
            reply = _say(engine, dialogue.request(utterance))
            dialogue.remember(utterance, reply)


def _say(engine: "ChatEngine", request: ReplyRequest) -> Reply:
    """Prints the reply as it comes; Ctrl-C stops it."""
    pieces: queue.SimpleQueue[str | Reply] = queue.SimpleQueue()
    ticket = engine.submit(request, pieces.put, pieces.put)
    while True:
        try:
            piece = pieces.get()
            if not isinstance(piece, str):
                click.secho(_remark(piece), dim=True)
                return piece
            click.echo(piece, nl=False)
        except KeyboardInterrupt:
            ticket.stop()


def _remark(reply: Reply) -> str:
    if reply.guarded:
        return "  (a fixed answer)"
    return "  (in the words of someone in another dialogue)" if reply.is_retrieved else ""
