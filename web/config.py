"""The server's settings: from flags, from the environment (CHATBOT_PORT=8123), or as written here."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from chatbot.addresses import without_password
from chatbot.history import DEFAULT_DATABASE
from chatbot.persona import OWN_NAME, checked_name
from chatbot.safety.answers import HELP

PREFIX = "CHATBOT_"


class SettingsError(ValueError):
    """A setting that cannot be used; the message is a sentence that names it."""


_NAME = re.compile(r"[a-z\d]([a-z\d.-]*[a-z\d])?")
# What browsers send as an origin, and apps made of web pages (Capacitor, Ionic, Tauri, Obsidian).
_ORIGIN = re.compile(r"(https?|capacitor|ionic|tauri|app)://([a-z\d]([a-z\d.-]*[a-z\d])?|\[[\da-f:.]+\])(:\d{1,5})?/?")
_USUAL_PORT = {"http": ":80", "https": ":443"}


def _as_sent(origin: str) -> str:
    """An origin as a browser sends it: in small letters, without the usual port. Raises ValueError where none would."""
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None:
        raise ValueError("an origin looks like https://chat.example or capacitor://localhost, each written out")
    scheme, host, _, port = match.groups()
    return f"{scheme}://{host}{port if port and port != _USUAL_PORT.get(scheme) else ''}"


def _told(value: Any) -> str:
    return repr(without_password(value) if isinstance(value, str) else value)


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    database: str = DEFAULT_DATABASE
    checkpoint: str = "live"
    name: Annotated[str, AfterValidator(checked_name)] = OWN_NAME  # what the chatbot is called
    help: Annotated[str, Field(max_length=300)] = HELP  # where a person in danger finds help, as a sentence may end
    origins: tuple[str, ...] | None = None  # of sites that may ask besides its own pages: exactly these, by commas
    hosts: tuple[str, ...] | None = None  # names that may be asked for, by commas; addresses and localhost always may
    workers: Annotated[int, Field(ge=1, le=256)] = 1  # processes, each with an engine and limits of its own
    redis: str | None = None  # by which workers of several servers reach one another
    proxies: Annotated[int, Field(ge=0)] = 0  # that stand in front and are believed when they say who the client is
    connections: Annotated[int, Field(ge=1)] = 500
    message_characters: Annotated[int, Field(ge=1)] = 4_000
    event_bytes: Annotated[int, Field(ge=1_024)] = 64 * 1024
    messages_per_minute: Annotated[int, Field(ge=1)] = 100
    tokens_per_minute: Annotated[int, Field(ge=1)] = 20_000  # read and written, a reply counting as its longest
    connections_per_user: Annotated[int, Field(ge=1)] = 10
    connects_per_minute: Annotated[int, Field(ge=1)] = 1_000  # from one address, behind which may be a whole school
    replies: Annotated[int, Field(ge=1, le=1_000)] = 500  # under way at once; an engine takes 1,024
    replies_per_user: Annotated[int, Field(ge=1)] = 16  # with the engine at once; further ones wait for them
    learn: bool = False  # whether new conversations may be learned from where nobody chooses
    keep_days: Annotated[int, Field(ge=0, le=36_500)] = 0  # 0: for ever
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0

    @field_validator("origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        # To Engine.IO an empty list and "*" mean that anybody may: neither is ever handed on.
        origins = value.split(",") if isinstance(value, str) else value
        return tuple(_as_sent(origin.strip()) for origin in origins or () if origin.strip()) or None

    @field_validator("hosts", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        hosts = value.split(",") if isinstance(value, str) else value
        names = tuple(host.strip().lower() for host in hosts or () if host.strip())
        if not all(map(_NAME.fullmatch, names)):
            raise ValueError("a host looks like chat.example, without a port")
        return names or None

    @field_validator("redis")
    @classmethod
    def _is_redis(cls, value: str | None) -> str | None:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a Redis or Valkey looks like redis://127.0.0.1:6379")
        return value or None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **flags: Any) -> "Settings":
        """Flags that are not None win over the environment. Raises SettingsError."""
        names = {name: PREFIX + name.upper() for name in cls.model_fields}
        values: dict[str, Any] = {name: environment[key] for name, key in names.items() if environment.get(key)}
        values.update({name: value for name, value in flags.items() if value is not None})
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            key = names.get(str(first["loc"][0]), str(first["loc"][0]))
            raise SettingsError(
                f"{key}={_told(first['input'])} cannot be used: {first['msg'].removeprefix('Value error, ')}."
            ) from error
