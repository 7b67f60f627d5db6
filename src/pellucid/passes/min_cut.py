"""The cheapest way to split a network in two: where edges from one side to the other cost most.

Enters: edges with capacities between vertices numbered from 0. Leaves: the vertices on the source's
side of a minimum cut, the smallest such set. Source: Dinic, "Algorithm for solution of a problem of
maximum flow in networks with power estimation" (1970).
"""

from __future__ import annotations

from collections import deque

SOURCE, SINK = 0, 1
ENDLESS = 1 << 60


class Network:
    """Vertices with directed edges; 0 is the source, 1 the sink."""

    def __init__(self) -> None:
        self.heads: list[list[int]] = [[], []]  # numbers of the edges that leave a vertex
        self.ends: list[int] = []  # where an edge leads; edge e ^ 1 is its reverse
        self.rest: list[int] = []  # the capacity it has left

    def vertex(self) -> int:
        """The number of a new vertex."""
        self.heads.append([])
        return len(self.heads) - 1

    def edge(self, a: int, b: int, capacity: int) -> None:
        """An edge that a cut with `a` on the source's side and `b` on the sink's must pay for."""
        if capacity <= 0 or a == b:
            return
        for start, end, amount in ((a, b, capacity), (b, a, 0)):
            self.heads[start].append(len(self.ends))
            self.ends.append(end)
            self.rest.append(amount)

    def cut(self) -> frozenset[int]:
        """The fewest vertices on the source's side of a minimum cut."""
        while (levels := self._levels())[SINK] >= 0:
            places = [0] * len(self.heads)
            while self._push(levels, places):
                pass
        return frozenset(v for v, level in enumerate(levels) if level >= 0)

    def _levels(self) -> list[int]:
        """Each vertex's distance from the source along edges that have capacity left, or -1."""
        levels = [-1] * len(self.heads)
        levels[SOURCE] = 0
        queue = deque([SOURCE])
        while queue:
            vertex = queue.popleft()
            for edge in self.heads[vertex]:
                if self.rest[edge] and levels[self.ends[edge]] < 0:
                    levels[self.ends[edge]] = levels[vertex] + 1
                    queue.append(self.ends[edge])
        return levels

    def _push(self, levels: list[int], places: list[int]) -> bool:
        """Send what one path to the sink can take; whether there was one."""
        path: list[int] = []
        vertex = SOURCE
        while vertex != SINK:
            edge = self._step(vertex, levels, places)
            if edge is not None:
                path.append(edge)
                vertex = self.ends[edge]
            elif path:  # a dead end: back, and past the edge that led here
                vertex = self.ends[path.pop() ^ 1]
                places[vertex] += 1
            else:
                return False
        amount = min(self.rest[e] for e in path)
        for edge in path:
            self.rest[edge] -= amount
            self.rest[edge ^ 1] += amount
        return True

    def _step(self, vertex: int, levels: list[int], places: list[int]) -> int | None:
        edges = self.heads[vertex]
        while places[vertex] < len(edges):
            edge = edges[places[vertex]]
            if self.rest[edge] and levels[self.ends[edge]] == levels[vertex] + 1:
                return edge
            places[vertex] += 1
        return None
