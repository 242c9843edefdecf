"""Who may use the server: everybody until the operator has made an API key, from then on whoever has a key or a token.

Every worker looks at the keys each second, so that one that is revoked is forgotten everywhere.
"""

import re
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog
from flask import Response, request
from sqlalchemy.exc import SQLAlchemyError

from chatbot.history import History
from chatbot.keys import Keys, id_of
from web.config import Settings
from web.protocol import ProtocolError
from web.rates import Rates

LOOK_SECONDS = 1.0
_HOST = re.compile(r"(\[[\da-f:.]+\]|[\w.-]+)(?::\d*)?")  # as a request names it, with or without a port

log = structlog.get_logger()


def lets_in(origin: str, host: str, listed: Collection[str], is_secure: bool = False) -> bool:
    """Tell whether a page of this origin may ask the server at `host`: its own page, or one of a listed site.

    A page that came by http may have been changed on the way, so it may not ask a server that is reached by https.
    """
    if origin in listed:
        return True
    with suppress(ValueError):  # no origin at all, such as "http://["
        parts = urlsplit(origin)
        return parts.netloc == host and (parts.scheme == "https" or (parts.scheme == "http" and not is_secure))
    return False


class ServedHosts:
    """Answers only requests for a host that is listed, for an address or for localhost.

    A page of another site can have its name point to this machine, and is then of the same origin as the server.
    """

    def __init__(self, app: Any, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, frozenset(hosts) | {"localhost"}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._is_served(environ.get("HTTP_HOST", "")):
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        start_response("421 Misdirected Request", [("Content-Type", "text/plain")])
        return [b"This server does not answer for that host; whoever runs it has to list it in CHATBOT_HOSTS.\n"]

    def _is_served(self, host: str) -> bool:
        match = _HOST.fullmatch(host.lower())
        if match is None or match[1] in self._hosts:
            return match is not None
        with suppress(ValueError):
            return bool(ip_address(match[1].strip("[]")))
        return False


@dataclass(frozen=True, slots=True)
class Admitted:
    """A user, the token if it is a new one, and the key that lets them in, if it is one."""

    user_id: str
    new_token: str | None
    key_id: str | None


class Access:
    """Asked once for each request and each connection. Safe to share between threads."""

    def __init__(self, history: History, settings: Settings, rates: Rates) -> None:
        self._history = history
        self._rates = rates
        self._keys = Keys(history)
        self._origins = frozenset(settings.origins or ())
        self._closed = threading.Event()
        self._look()

    def start(self, keep_only: Callable[[Collection[str]], None]) -> None:
        """Keep looking; `keep_only` gets the ids of the keys that are valid, at each look."""
        threading.Thread(target=self._watch, args=(keep_only,), name="watch-keys", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _watch(self, keep_only: Callable[[Collection[str]], None]) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            try:
                self._look()
                keep_only(self._valid.keys())
            except SQLAlchemyError as error:  # the next look comes in a second
                log.warning("keys not looked at", error=str(error))

    def _look(self) -> None:
        keys = self._keys.all()
        self.is_closed = bool(keys)  # revoked ones count: a server never opens because its last key is taken back
        self._valid = {key.id: frozenset(key.scopes) for key in keys if not key.revoked_at}

    # Connections

    def admit(self, token: str | None, key: str | None) -> Admitted:
        """Who connects with a user's token or, to become a new user, with a key. Raises ProtocolError."""
        if key and not self.is_closed:
            self._look()  # it may be the first one, made this second
        key_id = self._key_id(key, "chat") if key and self.is_closed else None
        if token is not None:
            return self.known(token)
        if self.is_closed and key_id is None:
            raise ProtocolError("unauthenticated", "This server asks for an API key; connect with one.")
        user_id, new_token = self._history.add_user()
        if key_id:
            self._keys.attach(user_id, key_id)
        return Admitted(user_id, new_token, key_id)

    def known(self, token: str) -> Admitted:
        """Return the user with this token. Raises ProtocolError where there is none, or where their key was revoked."""
        user_id = self._history.user_of(token)
        if user_id is None:
            raise ProtocolError(
                "unauthenticated", "This token is not known here; connect without one to get a new one."
            )
        key_id = self._keys.key_of(user_id) if self.is_closed else None
        if key_id:
            self._check_valid(key_id)
        return Admitted(user_id, None, key_id)

    def _key_id(self, key: str, scope: str) -> str:
        """The id of a valid key. Raises ProtocolError."""
        address = request.remote_addr or ""
        meant = meant if (meant := id_of(key)) in self._valid else ""
        if not self._keys.is_proven(key):
            self._rates.another_key(address, meant)
        key_id = self._keys.verify(key)
        if key_id is None:
            self._rates.wrong_key(address, meant)
            raise ProtocolError("unauthenticated", "This API key is not known here.")
        if key_id not in self._valid:
            self._look()  # it may be a new one
        self._check_valid(key_id)
        if scope not in self._valid[key_id]:
            raise ProtocolError("forbidden", f"This API key may not do that: it has not the scope {scope!r}.")
        return key_id

    def _check_valid(self, key_id: str) -> None:
        if key_id not in self._valid:
            raise ProtocolError("unauthenticated", "This API key was revoked.")

    # Requests

    def talker(self) -> str:
        """Who asks to talk, for the limits: an address as long as anybody may. Raises ProtocolError."""
        self._check_origin()
        given = self._given()
        if not self.is_closed:
            return f"address {request.remote_addr}"
        if given and self._history.user_of(given):
            return self.known(given).user_id
        if given:
            return f"key {self._key_id(given, 'chat')}"
        raise ProtocolError("unauthenticated", "This server asks for an API key: Authorization: Bearer <key>.")

    def readers(self) -> list[str]:
        """The users whose conversations may be read: the token's, or all of the key's. Raises ProtocolError."""
        self._check_origin()
        given = self._given()
        if given and self._history.user_of(given):
            return [self.known(given).user_id]
        if given and self.is_closed:
            return self._keys.users_of(self._key_id(given, "read"))
        raise ProtocolError("unauthenticated", "Send the token you were given: Authorization: Bearer <token>.")

    def _given(self) -> str | None:
        authorization = request.authorization
        return authorization.token if authorization and authorization.type == "bearer" else None

    def _check_origin(self) -> None:
        """A page of another site may ask where the operator lists its origin, as with the websocket."""
        origin = request.headers.get("Origin")
        if origin and not lets_in(origin, request.host, self._origins, request.is_secure):
            raise ProtocolError("forbidden", "This server does not answer to pages of that origin.")

    def allow_origin(self, response: Response) -> Response:
        """Say so to the browser; run after each request."""
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if request.endpoint == "static":  # the same for all, so a site that is not listed can at least be told so
            response.headers["Access-Control-Allow-Origin"] = "*"
        elif origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = str(origin)
            response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "")
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
        return response
