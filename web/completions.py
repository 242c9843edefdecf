"""An interface that apps know already: OpenAI's chat completions and models, whole or streamed.

Stateless: the messages sent are the dialogue, and nothing of them is kept. A system message is no utterance of it, and
a network that follows no instructions leaves it out.
"""

import queue
import select
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Self

from flask import Blueprint, Flask, Response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from chatbot.reply import CONTEXT_TURNS, DEFAULT, GREEDY, DecodingConfig, EngineUnavailable, Reply, ReplyRequest
from web.access import Access
from web.completion_protocol import (
    Choice,
    Chunk,
    ChunkChoice,
    Completion,
    CompletionRequest,
    Delta,
    Fault,
    FaultAnswer,
    Model,
    Models,
    Reason,
    SaidMessage,
    Usage,
)
from web.config import Settings
from web.conversations import ConversationService
from web.protocol import INTERNAL, STATUS, ProtocolError, refusal_of, retry_after
from web.rates import COMPLETIONS, OVERLOADED_MS, Places, Rates, count_tokens

LIVE = "live"  # whatever checkpoint answers now
LOOK_SECONDS = 0.25  # while a reply is awaited, this often whether its client is still there
BODY = 16  # events' worth of bytes: each request brings the whole dialogue

CODES = {  # what OpenAI calls them
    "unauthenticated": "invalid_api_key",
    "forbidden": "insufficient_permissions",
    "not_found": "model_not_found",
    "invalid": "invalid_value",
    "too_large": "context_length_exceeded",
    "rate_limited": "rate_limit_exceeded",
}


class Completions:
    """The routes under /v1."""

    def __init__(self, service: ConversationService, settings: Settings, access: Access, rates: Rates) -> None:
        self.service = service
        self.settings = settings
        self.access = access
        self.rates = rates
        self._started = int(time.time())
        self._threads = Places(COMPLETIONS)

    def register(self, app: Flask) -> None:
        routes = Blueprint("completions", __name__, url_prefix="/v1")
        routes.add_url_rule("/models", "models", self._models)
        routes.add_url_rule("/models/<path:name>", "model", self._model)
        routes.add_url_rule("/chat/completions", "complete", self._complete, methods=["POST"])
        routes.register_error_handler(ProtocolError, _refuse)
        app.register_blueprint(routes)

    # Models

    def _models(self) -> ResponseReturnValue:
        self.access.talker()
        return Models(data=[self._described(name) for name in self._names()]).model_dump()

    def _model(self, name: str) -> ResponseReturnValue:
        self.access.talker()
        self._check_model(name)
        return self._described(name).model_dump()

    def _names(self) -> tuple[str, str]:
        return LIVE, self.service.engine.checkpoint.id

    def _described(self, name: str) -> Model:
        return Model(id=name, created=self._started)

    def _check_model(self, name: str) -> None:
        if name not in self._names():
            raise ProtocolError("not_found", f"There is no model {name[:50]!r} here; GET /v1/models lists them.")

    # Completions

    def _complete(self) -> ResponseReturnValue:
        who = self.access.talker()
        asked = self._asked()
        self._check_model(asked.model)
        request_ = self._request(asked)
        self.rates.reply(who, *request_.context, request_.utterance)
        reply = self._begin(who, asked, request_)
        if not asked.stream:
            with reply:
                return reply.whole().model_dump()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        answer = Response(reply.lines(), mimetype="text/event-stream", headers=headers)
        answer.call_on_close(reply.close)
        return answer

    def _asked(self) -> CompletionRequest:
        request.max_content_length = BODY * self.settings.event_bytes
        if request.mimetype != "application/json":  # what another site's page may not send without asking first
            raise ProtocolError("invalid", "Send JSON, and say so: Content-Type: application/json.")
        try:
            return CompletionRequest.model_validate_json(request.get_data())
        except RequestEntityTooLarge:
            most = BODY * self.settings.event_bytes
            raise ProtocolError("too_large", f"A request may have {most} bytes; send the last messages only.") from None
        except ValidationError as error:
            raise refusal_of(error) from None

    def _request(self, asked: CompletionRequest) -> ReplyRequest:
        *context, utterance = asked.dialogue or [""]
        most = self.settings.message_characters
        if not utterance:
            raise ProtocolError("invalid", "messages: there is no utterance to reply to.")
        if len(utterance) > most:
            raise ProtocolError("too_large", f"A message may have {most} characters; this one has {len(utterance)}.")
        seed = None if asked.seed is None else asked.seed % 2**64
        return ReplyRequest(utterance, tuple(context[-CONTEXT_TURNS:]), decoding=_decoding(asked), seed=seed)

    def _begin(self, who: str, asked: CompletionRequest, wanted: ReplyRequest) -> "LiveReply":
        """A thread is kept for it, and a place among all replies, those of the websockets too."""
        if self.service.draining:
            raise ProtocolError("draining", "The server is about to restart; ask again in a moment.", 5_000)
        with ExitStack() as kept:
            kept.enter_context(self._threads.hold(who))
            kept.enter_context(self.service.unstored(who))
            reply = LiveReply(self.service, asked, wanted, request.environ.get("gunicorn.socket"))
            reply.kept = kept.pop_all()
            return reply


class LiveReply:
    """A reply on its way to the one client that asked for it. Whatever happens, `close` has to be called."""

    def __init__(
        self, service: ConversationService, asked: CompletionRequest, wanted: ReplyRequest, line: socket.socket | None
    ) -> None:
        """Raises ProtocolError where the engine takes no more."""
        self._asked, self._wanted, self._line = asked, wanted, line
        self.kept = ExitStack()  # what is given back with it
        self._is_fixed = False
        self._vocabulary = service.engine.checkpoint.vocabulary
        self._named = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": service.engine.checkpoint.id,
        }
        self._coming: queue.SimpleQueue[str | Reply] = queue.SimpleQueue()
        try:
            self._ticket = service.engine.submit(wanted, self._coming.put, self._coming.put)
        except EngineUnavailable as error:
            raise ProtocolError("overloaded", str(error), OVERLOADED_MS) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nobody waits for it any more. Harmless where it has ended, and the second time."""
        self._ticket.stop()
        self.kept.close()

    def whole(self) -> Completion:
        text = "".join(self._said())
        choice = Choice(message=SaidMessage(content=text), finish_reason=self._reason(text))
        return Completion(**self._named, choices=[choice], usage=self._usage(text))

    def lines(self) -> Iterator[str]:
        """The stream, as server-sent events; an error is its last one."""
        try:
            yield self._line_of(Delta(role="assistant", content=""))
            text = ""
            for piece in self._said():
                text += piece
                yield self._line_of(Delta(content=piece))
            yield self._line_of(Delta(), self._reason(text))
            if self._has_usage:
                yield _line(Chunk(**self._named, choices=[], usage=self._usage(text)))
        except ProtocolError as error:
            yield _line(fault(error))
        yield "data: [DONE]\n\n"

    @property
    def _has_usage(self) -> bool:
        return bool(self._asked.stream_options and self._asked.stream_options.include_usage)

    def _line_of(self, delta: Delta, reason: Reason | None = None) -> str:
        return _line(Chunk(**self._named, choices=[ChunkChoice(delta=delta, finish_reason=reason)]))

    def _said(self) -> Iterator[str]:
        return until(self._words(), self._asked.stops)

    def _words(self) -> Iterator[str]:
        """The engine's words as they come. Raises ProtocolError where it fails or the client has left."""
        said = ""
        while not isinstance(piece := self._next(), Reply):
            said += piece
            yield piece
        # An engine that died was replaced by one that chose another word.
        if piece.status == "failed" or piece.text != said:
            raise INTERNAL
        self._is_fixed = piece.guarded is not None  # whole, however few tokens were asked for
        if piece.status == "stopped":
            raise ProtocolError("draining", "The server stopped before the reply had ended; ask again.", 5_000)

    def _next(self) -> str | Reply:
        while True:
            with suppress(queue.Empty):
                return self._coming.get(timeout=LOOK_SECONDS)
            if _has_left(self._line):
                raise ProtocolError("draining", "Nobody is there to read this.")

    def _reason(self, text: str) -> Reason:
        most = self._asked.most_tokens
        return "length" if most and not self._is_fixed and self._count(text) >= most else "stop"

    def _usage(self, text: str) -> Usage:
        read = sum(map(self._count, (*self._wanted.context, self._wanted.utterance)))
        said = self._count(text)
        return Usage(prompt_tokens=read, completion_tokens=said, total_tokens=read + said)

    def _count(self, text: str) -> int:
        return count_tokens(self._vocabulary, text)


def until(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """The text up to the first of the `stops`; what may be the beginning of one is held back until that is known."""
    held = ""
    for piece in pieces:
        held += piece
        found = [place for stop in stops if (place := held.find(stop)) >= 0]
        sure = min(found) if found else len(held) - _begun(held, stops)
        if sure:
            yield held[:sure]
        if found:
            return
        held = held[sure:]
    if held:
        yield held


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a stop."""
    longest = min(len(text), max(map(len, stops), default=0))
    ends = ((length, text[-length:]) for length in range(longest, 0, -1))
    return next((length for length, end in ends if any(stop.startswith(end) for stop in stops)), 0)


def _decoding(asked: CompletionRequest) -> DecodingConfig | None:
    """None where nothing was asked for: the engine's own way."""
    if asked.temperature is None and asked.top_p is None and asked.most_tokens is None:
        return None
    most = min(asked.most_tokens or DEFAULT.max_tokens, DEFAULT.max_tokens)
    least = min(DEFAULT.min_tokens, most)
    if asked.temperature == 0 or asked.top_p == 0:
        return replace(GREEDY, min_tokens=least, max_tokens=most)
    cut = most < DEFAULT.max_tokens  # a response that somebody gave is whole or not given
    return replace(
        DEFAULT,
        min_tokens=least,
        max_tokens=most,
        temperature=DEFAULT.temperature if asked.temperature is None else asked.temperature,
        top_p=DEFAULT.top_p if asked.top_p is None else asked.top_p,
        retrieved=0 if cut else DEFAULT.retrieved,
    )


def _has_left(line: socket.socket | None) -> bool:
    """Whether the client at the other end of the line has hung up."""
    if line is None:
        return False
    try:
        poll = select.poll()  # a socket with a time limit would wait, whatever `recv` is told
        poll.register(line, select.POLLIN)
        return bool(poll.poll(0)) and not line.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):  # closed meanwhile
        return True


def _line(event: BaseModel) -> str:
    return f"data: {event.model_dump_json()}\n\n"


def fault(error: ProtocolError) -> FaultAnswer:
    """In the words that OpenAI's clients know."""
    kind = "invalid_request_error" if STATUS[error.code] < 500 else "server_error"
    return FaultAnswer(
        error=Fault(message=error.message, type=kind, param=None, code=CODES.get(error.code, error.code))
    )


def _refuse(error: ProtocolError) -> ResponseReturnValue:
    return fault(error).model_dump(), STATUS[error.code], retry_after(error)
