"""Limits of a user and of an address: connections, messages, tokens, changes, searches and wrong keys in a minute, and
replies at once."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from data.vocabulary import Vocabulary
from web.config import Settings
from web.protocol import ProtocolError

UTTERANCE_CHARACTERS = 4_000  # of an utterance, are counted; the engine reads no more
REPLY_TOKENS = 40  # what a reply may have is counted when it is asked for, as its length is not known yet
COMPLETIONS = 32  # at once, half of an engine's batch; each keeps a thread
OVERLOADED_MS = 1_000  # after which a reply or two have ended
_WRONG_KEYS = RateLimitItemPerMinute(20, namespace="wrong keys")


class OverloadedError(ProtocolError):
    """There is no place now; nothing of what was asked for was kept."""

    def __init__(self) -> None:
        super().__init__(
            "overloaded", "Too many replies are being written; send this again in a moment.", OVERLOADED_MS
        )


class Places:
    """Places for so many at once, of which nobody gets another who has as many as are left.

    So there is one for whoever comes next, whatever somebody else asks for: n who want all of them have a share of
    1 / (n + 1) each (the dynamic threshold of Choudhury and Hahne, 1998). Safe to share between threads.
    """

    def __init__(self, most: int, others: Callable[[], Collection[str]] = tuple) -> None:
        """`others` tells whose places are held in another way, each as often as they hold one."""
        self._most, self._others = most, others
        self._held: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, who: str) -> Iterator[None]:
        """Raises OverloadedError."""
        with self._lock:
            held = [*self._held, *self._others()]
            if held.count(who) >= self._most - len(held):
                raise OverloadedError
            self._held.append(who)
        try:
            yield
        finally:
            with self._lock:
                self._held.remove(who)


class Rates:
    """Each method counts one of its kind for a user, a key or an address, and raises ProtocolError beyond the limit."""

    def __init__(self, settings: Settings, vocabulary: Callable[[], Vocabulary]) -> None:
        """`vocabulary` gives that of the checkpoint that answers now, by which tokens are counted."""
        self._moving = MovingWindowRateLimiter(MemoryStorage())
        self._counting = SlidingWindowCounterRateLimiter(MemoryStorage())  # keeps a number, not each of the many
        self._vocabulary = vocabulary
        self._connections = RateLimitItemPerMinute(settings.connects_per_minute, namespace="connections")
        self._messages = RateLimitItemPerMinute(settings.messages_per_minute, namespace="messages")
        self._changes = RateLimitItemPerMinute(settings.messages_per_minute, namespace="changes")
        self._searches = RateLimitItemPerMinute(3 * settings.messages_per_minute, namespace="searches")
        self._tokens = RateLimitItemPerMinute(settings.tokens_per_minute, namespace="tokens")

    def connection(self, address: str) -> None:
        _hit(self._moving, self._connections, address, "Too many connections in a minute from this address; wait.")

    def reply(self, who: str, *read: str) -> None:
        """A reply is asked for, and these texts are to be read for it."""
        _hit(self._moving, self._messages, who, "Too many messages in a minute; wait a little.")
        vocabulary = self._vocabulary()
        tokens = REPLY_TOKENS + sum(count_tokens(vocabulary, text) for text in read)
        cost = min(tokens, self._tokens.amount)  # a limit below one message is a message a minute
        _hit(self._counting, self._tokens, who, "Too many words in a minute; wait a little.", cost)

    def change(self, user_id: str) -> None:
        """Count a change that is stored and is not a message."""
        _hit(self._moving, self._changes, user_id, "Too many changes in a minute; wait a little.")

    def search(self, user_id: str) -> None:
        _hit(self._moving, self._searches, user_id, "Too many searches in a minute; wait a little.")

    def wrong_key(self, address: str, key_id: str) -> None:
        self._moving.hit(_WRONG_KEYS, address, key_id)

    def another_key(self, address: str, key_id: str) -> None:
        """Counts nothing; asked before a key is looked at. `key_id` is that of a key that there is, or empty: the wrong
        keys of one person leave the others at an address alone."""
        if not self._moving.test(_WRONG_KEYS, address, key_id):
            raise ProtocolError("rate_limited", "Too many wrong keys; wait a minute.", 60_000)


def count_tokens(vocabulary: Vocabulary, text: str) -> int:
    return len(vocabulary.encode(text[:UTTERANCE_CHARACTERS]))


def _hit(limiter: RateLimiter, limit: RateLimitItem, whose: str, sentence: str, cost: int = 1) -> None:
    if limiter.hit(limit, whose, cost=cost):
        return
    free_at = limiter.get_window_stats(limit, whose).reset_time
    raise ProtocolError("rate_limited", sentence, max(1, round((free_at - time.time()) * 1000)))
