"""What somebody may ask of a worker in a minute: connections, messages, tokens, searches, wrong keys."""

import time
from collections.abc import Callable

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from data.vocabulary import Vocabulary
from web.config import Settings
from web.protocol import ProtocolError

UTTERANCE_CHARACTERS = 4_000  # of an utterance, are counted; the engine reads no more
REPLY_TOKENS = 40  # what a reply may have is counted when it is asked for, as its length is not known yet
_WRONG_KEYS = RateLimitItemPerMinute(20, namespace="wrong keys")


class Rates:
    """Each method counts one of its kind for a user, a key or an address, and raises ProtocolError beyond the limit."""

    def __init__(self, settings: Settings, vocabulary: Callable[[], Vocabulary]) -> None:
        """`vocabulary` gives that of the checkpoint that answers now, by which tokens are counted."""
        self._moving = MovingWindowRateLimiter(MemoryStorage())
        self._counting = SlidingWindowCounterRateLimiter(MemoryStorage())  # keeps a number, not each of the many
        self._vocabulary = vocabulary
        self._connections = RateLimitItemPerMinute(settings.connects_per_minute, namespace="connections")
        self._messages = RateLimitItemPerMinute(settings.messages_per_minute, namespace="messages")
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

    def search(self, user_id: str) -> None:
        _hit(self._moving, self._searches, user_id, "Too many searches in a minute; wait a little.")

    def wrong_key(self, address: str) -> None:
        self._moving.hit(_WRONG_KEYS, address)

    def another_key(self, address: str) -> None:
        """Counts nothing; asked before a key is looked at."""
        if not self._moving.test(_WRONG_KEYS, address):
            raise ProtocolError("rate_limited", "Too many wrong keys; wait a minute.", 60_000)


def count_tokens(vocabulary: Vocabulary, text: str) -> int:
    return len(vocabulary.encode(text[:UTTERANCE_CHARACTERS]))


def _hit(limiter: RateLimiter, limit: RateLimitItem, whose: str, sentence: str, cost: int = 1) -> None:
    if limiter.hit(limit, whose, cost=cost):
        return
    free_at = limiter.get_window_stats(limit, whose).reset_time
    raise ProtocolError("rate_limited", sentence, max(1, round((free_at - time.time()) * 1000)))
