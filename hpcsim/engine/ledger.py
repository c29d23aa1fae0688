"""Every node-second booked once."""

from __future__ import annotations


class Ledger:
    """Integrates the number of busy nodes over time.

    It is told of each change when it happens, so it is a second set of books beside the attempts: the sum of
    nodes times duration over all attempts must come to the same (``--check``).
    """

    __slots__ = ("_since", "busy_node_seconds", "busy_nodes")

    def __init__(self, now: int) -> None:
        self.busy_nodes = 0
        self.busy_node_seconds = 0
        self._since = now

    def change(self, now: int, nodes: int) -> None:
        """``nodes`` more (or, negative, fewer) are busy from ``now`` on."""
        self.busy_node_seconds += self.busy_nodes * (now - self._since)
        self._since = now
        self.busy_nodes += nodes

    def settle(self, now: int) -> None:
        """Book everything up to ``now``."""
        self.change(now, 0)
