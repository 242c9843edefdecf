"""Who may operate the server: whoever holds the token of a file that is made on the first start.

Giving the token opens a session, which is kept in memory: it ends when it is signed out, after a while, and with the
server. The token itself is in no cookie, no address and no log.
"""

import hmac
import os
import secrets
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from chatbot.home import home
from web.protocol import ProtocolError

SESSION_SECONDS = 12 * 3600
TRIES_PER_MINUTE = 10  # from one address
_FEWEST_CHARACTERS = 20


class AdminTokenError(ValueError):
    """The file holds no token that could keep anybody out; the message is a sentence for the operator."""


def token_file() -> Path:
    return home() / "admin-token"


def admin_token() -> str:
    """The operator's token, made where there is none yet. Raises AdminTokenError, OSError."""
    place = token_file()
    if not place.exists():
        _make_token(place)
    token = place.read_text("utf-8", errors="replace").strip()
    if len(token) < _FEWEST_CHARACTERS:
        raise AdminTokenError(f"{place} holds no token; delete it, and the next start makes a new one.")
    return token


def _make_token(place: Path) -> None:
    """Whole or not at all; where several servers start at once, the first one's is everybody's."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=place.parent, prefix=".admin-token-") as fresh:  # nobody else's to read
        fresh.write(f"{secrets.token_urlsafe(32)}\n")
        fresh.flush()
        os.fsync(fresh.fileno())
        with suppress(FileExistsError):
            os.link(fresh.name, place)


@dataclass(frozen=True, slots=True)
class Session:
    """`csrf` goes with every change, in a header: the cookie alone could be sent by another site's page."""

    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    ends: float = field(default_factory=lambda: time.monotonic() + SESSION_SECONDS)


class Sessions:
    """The operators that are signed in. Safe to share between threads."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._tries = MovingWindowRateLimiter(MemoryStorage())

    def sign_in(self, token: str, address: str) -> str | None:
        """The id of a new session, or None where the token is wrong. Raises ProtocolError after too many tries."""
        if not self._tries.hit(RateLimitItemPerMinute(TRIES_PER_MINUTE), address):
            raise ProtocolError("rate_limited", "Too many tries; wait a minute.")
        if not hmac.compare_digest(token.strip().encode(errors="replace"), self._token):
            return None
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            now = time.monotonic()
            self._sessions = {name: session for name, session in self._sessions.items() if session.ends > now}
            self._sessions[session_id] = Session()
        return session_id

    def find(self, session_id: str) -> Session | None:
        session = self._sessions.get(session_id)
        return session if session and session.ends > time.monotonic() else None

    def sign_out(self, session_id: str) -> None:
        with self._lock:
            self._sessions.pop(session_id, None)
