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

from chatbot.persona import OWN_NAME, Persona, checked_name
from chatbot.reply import CONTEXT_TURNS, DialogueState, Reply, ReplyRequest
from chatbot.safety.answers import HELP
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
@click.option(
    "--name", envvar="CHATBOT_NAME", default=OWN_NAME, metavar="NAME", help=f"What the chatbot is called ({OWN_NAME})."
)
@click.option("--greedy", is_flag=True, help="Say the likeliest word at each step instead of choosing among samples.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes sampled replies repeatable.")
def talk(where: str, name: str, greedy: bool, seed: int | None) -> None:
    """Talk to the chatbot.

    In a terminal, Ctrl-C cuts a reply short and Ctrl-D ends the conversation. Fed from a pipe, each line is an
    utterance and each reply is printed on a line of its own, with nothing else; blank lines are passed over.

    CHATBOT_NAME and CHATBOT_HELP in the environment say what the chatbot is called and where a person in danger finds
    help, as for `chatbot serve`.
    """
    try:
        in_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        persona = _persona(name)
        with _engine(where, greedy, persona) as engine:
            if in_terminal:
                _talk_in_terminal(engine, _Dialogue(seed), persona.name)
            else:
                _talk_through_pipe(engine, _Dialogue(seed))
    except KeyboardInterrupt:
        sys.exit(130)


def _persona(name: str) -> Persona:
    try:
        return Persona(checked_name(name), os.environ.get("CHATBOT_HELP") or HELP)
    except ValueError as error:
        raise UserError(f"The name {name!r} cannot be used: {error}.") from error


def _engine(where: str, greedy: bool, persona: Persona) -> "ChatEngine":
    from chatbot.checkpoint import load_checkpoint
    from chatbot.engine import ChatEngine
    from chatbot.reply import DEFAULT, GREEDY
    from chatbot.shelf import CheckpointError

    with told_to_user(CheckpointError):
        return ChatEngine(load_checkpoint(where), GREEDY if greedy else DEFAULT, persona=persona)


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


def _talk_in_terminal(engine: "ChatEngine", dialogue: _Dialogue, name: str) -> None:
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
            click.secho(f"{name}: ", fg="green", bold=True, nl=False)
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
