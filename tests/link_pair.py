"""A host's and a node's link joined by a line in virtual time."""

from __future__ import annotations

from collections import deque
from random import Random

from firmware_bridge.line import Impairment, LineSpec
from firmware_bridge.link import Link


class Pair:
    """A host and a node joined by a line with latency, in virtual time."""

    def __init__(self, spec: LineSpec | None = None, *, seed: int = 1, latency_s: float = 0.002, baud=None):
        nonces = Random(seed)
        self.host = Link("host", baud=baud, nonce=lambda: nonces.getrandbits(32))
        self.node = Link("node", baud=baud)
        self.latency_s = latency_s
        self.now_s = 0.0
        spec = spec or LineSpec()
        self.damage = {self.host: Impairment(2 * seed, spec).apply, self.node: Impairment(2 * seed + 1, spec).apply}
        self.flying: dict[Link, deque[tuple[float, bytes]]] = {self.host: deque(), self.node: deque()}
        self.at_host: list[bytes] = []
        self.at_node: list[bytes] = []
        self.cut = False
        self.writes = 0

    def step(self) -> bool:
        """Send what is due, then go to the next event; False when there is none."""
        for source, sink in ((self.host, self.node), (self.node, self.host)):
            while data := source.to_transmit(self.now_s):
                self.writes += 1
                if not self.cut:
                    self.flying[sink].append((self.now_s + self.latency_s, self.damage[source](data)))
            while self.flying[sink] and self.flying[sink][0][0] <= self.now_s:
                sink.receive(self.flying[sink].popleft()[1], self.now_s)
        self.at_host += self.host.received()
        self.at_node += self.node.received()
        times = [link.next_event(self.now_s) for link in (self.host, self.node)]
        times += [queue[0][0] for queue in self.flying.values() if queue]
        known = [time_s for time_s in times if time_s is not None]
        if not known:
            return False
        self.now_s = max(self.now_s + 1e-6, min(known))
        return True

    def run(self, until_s: float, done=lambda: False) -> None:
        while self.now_s < until_s and not done() and self.step():
            pass


def messages(random: Random, count: int) -> list[bytes]:
    sizes = (5, 12, 60, 300, 3000)
    return [index.to_bytes(4, "big") + random.randbytes(random.choice(sizes)) for index in range(count)]


def exchange(pair: Pair, seed: int, count: int = 60, limit_s: float = 120.0) -> None:
    random = Random(seed)
    out, back = messages(random, count), messages(random, count)
    pair.run(5.0, lambda: pair.host.established and pair.node.established)
    for ahead, behind in zip(out, back, strict=True):
        pair.host.send(ahead)
        pair.node.send(behind)
    pair.run(limit_s, lambda: len(pair.at_node) >= count and len(pair.at_host) >= count)
    assert pair.at_node == out
    assert pair.at_host == back
    pair.run(pair.now_s + limit_s, lambda: pair.host.idle and pair.node.idle)
    pair.run(pair.now_s + 2.0)
    assert pair.host.idle
    assert pair.node.idle
    assert len(pair.at_node) == len(pair.at_host) == count
