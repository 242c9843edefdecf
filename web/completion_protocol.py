"""What OpenAI's clients send to /v1 and what they are answered, as far as it means anything here."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from data.cleaning import is_blank
from web.protocol import Lenient, PlainText

Reason = Literal["stop", "length"]
Stop = Annotated[PlainText, Field(max_length=1_000)]  # more than a reply has


class Part(Lenient):
    type: Literal["text"]
    text: PlainText


class Message(Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: PlainText | list[Part] | None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content or ())


class StreamOptions(Lenient):
    include_usage: bool | None = None


class ResponseFormat(Lenient):
    type: Literal["text"]


class CompletionRequest(Lenient):
    """`temperature` 0 decodes greedily. Without temperature, top_p and max_tokens, replies are those of the page."""

    model: PlainText
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    logprobs: Literal[False] | None = None
    response_format: ResponseFormat | None = None

    @property
    def dialogue(self) -> list[str]:
        """The utterances, oldest first."""
        said = [message.text for message in self.messages if message.role not in ("system", "developer")]
        return [text for text in said if not is_blank(text)]

    @property
    def stops(self) -> list[str]:
        return [text for text in ([self.stop] if isinstance(self.stop, str) else self.stop or []) if text]

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class Usage(BaseModel):
    """Tokens of the network's own vocabulary; of the prompt those that it reads."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class SaidMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int = 0
    message: SaidMessage
    logprobs: None = None
    finish_reason: Reason


class Completion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer(mode="wrap")
    def _what_is_new(self, write: SerializerFunctionWrapHandler) -> dict[str, str]:
        return {name: value for name, value in write(self).items() if value is not None}


class ChunkChoice(BaseModel):
    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: Reason | None = None


class Chunk(BaseModel):
    """A line `data: {…}` of a stream; the last line is `data: [DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "hred-chatbot"


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class Fault(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class FaultAnswer(BaseModel):
    error: Fault
