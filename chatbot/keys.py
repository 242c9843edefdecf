"""API keys: who may use a server that is not open to everybody. Of a key only its argon2 hash is kept.

A key reads cb_ID_SECRET: by the id it is found, the secret is what is hashed. A user who came with a key stays that
key's.
"""

import hashlib
import secrets
import threading
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import JSON, ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column, sessionmaker

from chatbot.history import Base, History, NotFoundError, now

SCOPES = ("chat", "read")  # to talk; to read what the key's users said and were told
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # OWASP's least; secrets are random here


class ApiKey(Base):
    """Stays once it is revoked, so that a server that was closed does not open again."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    secret_hash: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]


class KeyUser(Base):
    """A user who was made for a key."""

    __tablename__ = "key_users"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), index=True)


class Keys:
    """The keys in the history's database. Safe to share between threads."""

    def __init__(self, history: History) -> None:
        self._sessions = sessionmaker(history.engine, expire_on_commit=False)
        self._writes = sessionmaker(history.engine.execution_options(immediate=True), expire_on_commit=False)
        self._proven: dict[bytes, str] = {}  # digest of a key that was verified -> its id
        self._verifying = threading.Lock()  # argon2 takes 19 MB and a while: one at a time

    def create(self, name: str, scopes: tuple[str, ...]) -> str:
        """-> the key, which cannot be read back later."""
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self._writes.begin() as session:
            session.add(ApiKey(id=key_id, name=name, secret_hash=_HASHER.hash(secret), scopes=list(scopes)))
        return f"cb_{key_id}_{secret}"

    def all(self) -> list[ApiKey]:
        """Oldest first, revoked ones too."""
        with self._sessions() as session:
            return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)))

    def revoke(self, key_id: str) -> None:
        """Raises NotFoundError. Revoking it again is harmless."""
        with self._writes.begin() as session:
            key = session.get(ApiKey, key_id)
            if key is None:
                raise NotFoundError(f"There is no key {key_id}; `chatbot keys list` names them.")
            key.revoked_at = key.revoked_at or now()

    def is_proven(self, key: str) -> bool:
        """Tell whether this key was verified before, so that verifying it again is cheap."""
        return _digest(key) in self._proven

    def verify(self, key: str) -> str | None:
        """The id of a key that was made here, revoked or not."""
        digest = _digest(key)
        if digest not in self._proven:
            key_id, secret = _parts(key)
            with self._sessions() as session:
                found = session.get(ApiKey, key_id) if key_id else None
            if found is None or not self._fits(secret, found.secret_hash):
                return None
            self._proven[digest] = key_id
        return self._proven[digest]

    def _fits(self, secret: str, secret_hash: str) -> bool:
        with self._verifying:
            try:
                return _HASHER.verify(secret_hash, secret.encode(errors="replace"))
            except (VerificationError, InvalidHashError):
                return False

    def attach(self, user_id: str, key_id: str) -> None:
        with self._writes.begin() as session:
            session.add(KeyUser(user_id=user_id, key_id=key_id))

    def key_of(self, user_id: str) -> str | None:
        with self._sessions() as session:
            return session.scalar(select(KeyUser.key_id).where(KeyUser.user_id == user_id))

    def users_of(self, key_id: str) -> list[str]:
        with self._sessions() as session:
            return list(session.scalars(select(KeyUser.user_id).where(KeyUser.key_id == key_id)))


def id_of(key: str) -> str:
    """The id that a key says it has; empty where it has not the form of a key."""
    return _parts(key)[0]


def _parts(key: str) -> tuple[str, str]:
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == "cb" and len(key_id) == 12 else ("", "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
