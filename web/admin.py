"""Who may operate the server: whoever holds the token of a file that is made on the first start.

Giving the token opens a session: an empty file under a name that the cookie's id leads to, so that every worker of the
server knows it. It ends when it is signed out, after a while, and with the token, which itself is in no cookie, no
address and no log.
"""

import hmac
import os
import secrets
import tempfile
import time
from contextlib import suppress
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


class Sessions:
    """The operators that are signed in, at whichever of the server's workers. Safe to share between threads."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._folder = home() / "operator-sessions"
        self._tries = MovingWindowRateLimiter(MemoryStorage())

    def sign_in(self, token: str, address: str) -> str | None:
        """The id of a new session, or None where the token is wrong. Raises OSError; ProtocolError after too many
        tries."""
        if not self._tries.hit(RateLimitItemPerMinute(TRIES_PER_MINUTE), address):
            raise ProtocolError("rate_limited", "Too many tries; wait a minute.")
        if not hmac.compare_digest(token.strip().encode(errors="replace"), self._token):
            return None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in self._folder.iterdir():
            if not _is_open(place):
                place.unlink(missing_ok=True)
        session_id = secrets.token_urlsafe(32)
        self._place(session_id).touch(mode=0o600)
        return session_id

    def csrf_of(self, session_id: str) -> str | None:
        """What goes with every change, in a header: the cookie alone could be sent by another site's page. None where
        the session is not open, or not any more."""
        if not _is_open(self._place(session_id)):
            return None
        return self._digest("csrf", session_id)

    def sign_out(self, session_id: str) -> None:
        self._place(session_id).unlink(missing_ok=True)

    def _place(self, session_id: str) -> Path:
        return self._folder / self._digest("session", session_id)

    def _digest(self, purpose: str, session_id: str) -> str:
        return hmac.new(self._token, f"{purpose} {session_id}".encode(errors="replace"), "sha256").hexdigest()


def _is_open(place: Path) -> bool:
    try:
        return time.time() < place.stat().st_mtime + SESSION_SECONDS
    except FileNotFoundError:
        return False
