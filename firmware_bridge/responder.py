"""The node's memory of its last replies, which makes a request that comes twice be carried out once."""

from __future__ import annotations

from collections import OrderedDict

CAPACITY = 256
"""More than a host ever has under way."""


class Replies:
    """Replies by request id.

    After a lost link the host opens a new session and sends again every request that has no reply yet. The node
    asks here first: a finished one is answered from memory, a running one gets its reply when it is done.

    Examples
    --------
    >>> replies = Replies()
    >>> replies.admit(7), replies.admit(7)
    (True, False)
    >>> replies.finish(7, b"done")
    >>> replies.admit(7), replies.answer(7)
    (False, b'done')
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._replies: OrderedDict[int, bytes | None] = OrderedDict()

    def admit(self, request_id: int) -> bool:
        """Whether the request is new and to be carried out."""
        if request_id in self._replies:
            return False
        self._replies[request_id] = None
        return True

    def finish(self, request_id: int, reply: bytes) -> None:
        """Remember the reply, and forget the oldest finished one beyond the capacity."""
        self._replies[request_id] = reply
        if len(self._replies) > self._capacity:
            oldest = next((key for key, value in self._replies.items() if value is not None), None)
            if oldest is not None:
                del self._replies[oldest]

    def answer(self, request_id: int) -> bytes | None:
        """The remembered reply; None while the request is being carried out."""
        return self._replies.get(request_id)
