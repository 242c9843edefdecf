"""The server's settings: from flags, from the environment (CHATBOT_PORT=8123), or as written here."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from chatbot.history import DEFAULT_DATABASE

PREFIX = "CHATBOT_"


class SettingsError(ValueError):
    """A setting that cannot be used; the message is a sentence that names it."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    database: str = DEFAULT_DATABASE
    checkpoint: str = "live"
    origins: tuple[str, ...] | None = None  # besides the server's own; exact, separated by commas
    connections: Annotated[int, Field(ge=1)] = 500
    message_characters: Annotated[int, Field(ge=1)] = 4_000
    event_bytes: Annotated[int, Field(ge=1_024)] = 64 * 1024
    messages_per_minute: Annotated[int, Field(ge=1)] = 100
    connections_per_user: Annotated[int, Field(ge=1)] = 10
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0

    @field_validator("origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        # An empty list would switch the check of origins off (Engine.IO's rule): it means "none besides our own".
        origins = value.split(",") if isinstance(value, str) else value
        return tuple(origin.strip().rstrip("/") for origin in origins or () if origin.strip()) or None

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
            raise SettingsError(f"{key}={first['input']!r} cannot be used: {first['msg']}.") from error
