"""Who may ask over HTTP, how often, and from which other sites' pages."""

import time
from urllib.parse import urlsplit

from flask import Response, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from web.config import Settings
from web.protocol import ProtocolError


class Access:
    """Asked by the routes, once for each request. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(settings.origins or ())
        self._rate = MovingWindowRateLimiter(MemoryStorage())
        self._messages = RateLimitItemPerMinute(settings.messages_per_minute)

    def check(self, scope: str) -> str:
        """Who asks, for the limits. Raises ProtocolError."""
        self._check_origin()
        return f"address {request.remote_addr}"

    def count_message(self, who: str) -> None:
        """Raises ProtocolError beyond the messages of a minute."""
        if not self._rate.hit(self._messages, who):
            free_at = self._rate.get_window_stats(self._messages, who).reset_time
            wait = max(1, round((free_at - time.time()) * 1000))
            raise ProtocolError("rate_limited", "Too many messages in a minute; wait a little.", wait)

    def _check_origin(self) -> None:
        """A page of another site may ask where the operator lists its origin, as with the websocket."""
        origin = request.headers.get("Origin")
        if origin and origin not in self._origins and urlsplit(origin).netloc != request.host:
            raise ProtocolError("forbidden", "This server does not answer to pages of that origin.")

    def allow_origin(self, response: Response) -> Response:
        """Say so to the browser; run after each request."""
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = str(origin)
            response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "")
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
        return response
