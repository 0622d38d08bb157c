"""Prefix forests: each shared token prefix of a set of prompts is computed once.

A `Row` packs token sequences as one trie. Its nodes are tokens, in an order in which parents
precede children; a node attends to itself and its ancestors, and its position is its depth.
A causal model's state at a node depends only on the path from the root, so every sequence that
passes through the node shares it. Sequences of one match share rules and history, so most of
their tokens are computed once.

Picture of two sequences, `a b c` and `a b d`, in one row::

    node      0 1 2 3
    token     a b c d
    parent   -1 0 1 1
    depth     0 1 2 2
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from nashlens.errors import DataError


@dataclass
class Row:
    """One packed trie of token sequences, with one entry a node; it may grow by insertions."""

    tokens: list[int] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    # Made when `insert` first needs it: packing knows where each sequence branches off.
    _children: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    def append(self, above: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
        """Add new nodes below a path, whether or not equal ones exist; return the longer path.

        The path `above` begins at the root; it is empty for a new root.
        """
        start, count, depth = len(self.tokens), len(tokens), len(above)
        if count:
            self.tokens.extend(tokens)
            self.parent.append(int(above[-1]) if depth else -1)
            self.parent.extend(range(start, start + count - 1))
            self.depth.extend(range(depth, depth + count))
        return np.concatenate((above, np.arange(start, start + count)))

    def insert(
        self, sequence: Sequence[int], like: tuple[Sequence[int], np.ndarray] | None = None
    ) -> np.ndarray:
        """Add a sequence of at least one token, sharing what the row holds of it; return its path.

        `like` is a sequence inserted before and its path: what both begin with is found at once,
        and not token by token.
        """
        if len(sequence) == 0:
            raise DataError("a token sequence is empty; every prompt needs at least one token")
        found = np.empty(0, dtype=np.int64)
        if like is not None:
            found = like[1][: shared_prefix(np.asarray(sequence), np.asarray(like[0]))]
        found = np.concatenate((found, self._find(sequence, found)))
        path = self.append(found, sequence[len(found) :])
        for node in path[len(found) :].tolist():
            self._children[self.parent[node], self.tokens[node]] = node
        return path

    def select(self, nodes: np.ndarray) -> np.ndarray:
        """Keep only some inserted nodes, `(m,)` ascending; the parent of each is among them.

        Returns `(len(self),)`, the new index of each node that there was, -1 where it is gone.
        """
        moved = np.full(len(self), -1, dtype=np.int64)
        moved[nodes] = np.arange(len(nodes))
        # Up to the first that goes, all stay as they are.
        first = int(np.argmax(np.append(moved, -1) < 0))
        rest = [(self.parent[n], self.tokens[n], self.depth[n]) for n in nodes[first:].tolist()]
        for node in range(first, len(self)):
            self._children.pop((self.parent[node], self.tokens[node]), None)
        for values in (self.tokens, self.parent, self.depth):
            del values[first:]
        for node, (parent, token, depth) in enumerate(rest, start=first):
            above = int(moved[parent]) if parent >= 0 else -1
            self.tokens.append(token)
            self.parent.append(above)
            self.depth.append(depth)
            self._children[above, token] = node
        return moved

    def _find(self, sequence: Sequence[int], above: np.ndarray) -> np.ndarray:
        """Return the nodes below a path that go on with a sequence, as far as the row has them."""
        path: list[int] = []
        node = int(above[-1]) if len(above) else -1
        for token in sequence[len(above) :]:
            child = self._children.get((node, int(token)))
            if child is None:
                break
            path.append(child)
            node = child
        return np.array(path, dtype=np.int64)

    def ends(self) -> np.ndarray | None:
        """Return the index after each node's subtree, or None if the order is not depth-first.

        Depth-first, node j's subtree is `j .. ends[j] - 1`, so key j is seen by query i exactly
        when `j <= i < ends[j]`: the whole mask is one integer a node.
        """
        n = len(self)
        nodes, ends = np.arange(n), np.full(n, n, dtype=np.int64)
        # The nodes from the root to the last one seen, in the first `height` places.
        path, height = np.empty(max(self.depth, default=-1) + 1, dtype=np.int64), 0
        # Nodes come in runs, each the child of the one before it; only where a run starts can
        # subtrees end.
        starts = np.flatnonzero(np.array(self.parent) != nodes - 1)
        starts = np.union1d(starts, [0]) if n else starts
        for start, stop in itertools.pairwise([*starts.tolist(), n]):
            above = self.depth[start]
            if above > height or (above and path[above - 1] != self.parent[start]):
                return None
            ends[path[above:height]] = start
            height = above + stop - start
            path[above:height] = nodes[start:stop]
        return ends


@dataclass(frozen=True)
class PackedSequence:
    """Where one of the caller's sequences lies.

    Attributes
    ----------
    index : int
        Which of the caller's sequences.
    path : numpy.ndarray
        `(length,)` its nodes in the row.
    shared : int
        How many of the first ones were in the row before it.
    """

    index: int
    path: np.ndarray
    shared: int


def shared_prefix(first: np.ndarray, second: np.ndarray) -> int:
    """Return the length of the longest common prefix of two arrays."""
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    return int(differs.argmax()) if differs.any() else length


def sort_key(ids: np.ndarray) -> bytes:
    """Return big-endian bytes, which sort as the ids do, and much faster than tuples."""
    return ids.astype(">u4").tobytes()


def pack(
    sequences: Sequence[Sequence[int]],
    max_tokens: int,
    short: int | None = None,
    most: int | None = None,
) -> Iterator[tuple[Row, list[PackedSequence]]]:
    """Pack sequences into rows of at most `max_tokens` nodes.

    Sequences are taken in an order in which neighbours share the longest prefixes, so that the
    nodes of a row come in depth-first order, the largest subtree of a node first. A match's rules
    and history are then one stretch with its questions behind it, which leaves more of the blocks
    of an attention mask wholly seen or wholly unseen. The packing depends only on the sequences.
    A sequence longer than the budget gets a row of its own.

    Parameters
    ----------
    sequences : sequence of sequences of int
        Token ids. Duplicates and prefixes of one another are fine.
    max_tokens : int
        Budget of nodes a row.
    short : int, optional
        Sequences of at most this many tokens and longer ones get rows of their own.
    most : int, optional
        Sequences that a row holds at most.

    Yields
    ------
    row : Row
    packed : list of PackedSequence
        The sequences in the row; over all rows, every index once.

    Raises
    ------
    DataError
        If there are no sequences, or one is empty.
    """
    if len(sequences) == 0:
        raise DataError("no token sequences were given; nothing can be packed")
    arrays = [np.asarray(sequence, dtype=np.int64) for sequence in sequences]
    if any(len(array) == 0 for array in arrays):
        raise DataError("a token sequence is empty; every prompt needs at least one token")
    long = [short is not None and len(array) > short for array in arrays]
    for kind in (False, True):
        indices = [i for i in range(len(arrays)) if long[i] == kind]
        if indices:
            yield from _pack_alike(arrays, indices, max_tokens, most or len(indices))


def _pack_alike(
    arrays: list[np.ndarray], indices: list[int], max_tokens: int, most: int
) -> Iterator[tuple[Row, list[PackedSequence]]]:
    order = sorted(indices, key=lambda i: (sort_key(arrays[i]), i))
    common = [0] + [shared_prefix(arrays[a], arrays[b]) for a, b in itertools.pairwise(order)]
    ranked, shared = _largest_first([len(arrays[i]) for i in order], common)
    order = [order[i] for i in ranked]
    room = _room(np.array([len(arrays[i]) for i in order]), np.array(shared))
    nothing = np.empty(0, dtype=np.int64)
    row, path = Row(), nothing
    packed: list[PackedSequence] = []
    for index, have, tree in zip(order, shared, room, strict=True):
        new = len(arrays[index]) - have
        # A tree that would fit a row of its own is not cut: each part would compute its stem anew.
        need = tree if len(row) + tree > max_tokens >= tree else new
        if len(packed) == most or (packed and new and len(row) + need > max_tokens):
            yield row, packed
            row, path, packed = Row(), nothing, []
        above = path[:have]
        path = row.append(above, arrays[index][len(above) :].tolist())
        packed.append(PackedSequence(index, path, len(above)))
    yield row, packed


@dataclass
class _Branching:
    """Sequences that share their first `depth` tokens and part there."""

    depth: int
    nodes: int = 0
    parts: list[tuple[int, int | _Branching]] = field(default_factory=list)

    def add(self, nodes: int, part: int | _Branching) -> None:
        """Add a sequence, or a branching further down, with its number of nodes from the root."""
        self.nodes += nodes - self.depth
        self.parts.append((nodes, part))


def _largest_first(lengths: Sequence[int], shared: Sequence[int]) -> tuple[list[int], list[int]]:
    """Order sorted sequences so that larger subtrees precede smaller ones.

    Both in lexicographic order: tokens of each sequence, and how many of them it shares with the
    one before. Returns the new order, and what each sequence shares with the one before it there.
    """
    last: tuple[int, int | _Branching] = (lengths[0], 0)
    open_: list[_Branching] = []
    # A pass over the sequences with the branchings above the current one on a stack.
    for i, depth in enumerate([*shared[1:], -1], start=1):
        while open_ and open_[-1].depth > depth:
            done = open_.pop()
            done.add(*last)
            last = (done.depth + done.nodes, done)
        if i == len(lengths):
            break
        if not open_ or open_[-1].depth < depth:
            open_.append(_Branching(depth))
        open_[-1].add(*last)
        last = (lengths[i], i)
    order, common, waiting = [], [], [(last[1], 0)]
    while waiting:
        part, before = waiting.pop()
        if isinstance(part, int):
            order.append(part)
            common.append(before)
            continue
        ranked = [p for _, p in sorted(part.parts, key=lambda p: -p[0])]
        waiting += [(p, part.depth) for p in reversed(ranked[1:])]
        waiting.append((ranked[0], before))
    return order, common


def _room(lengths: np.ndarray, shared: np.ndarray) -> list[int]:
    """Return, where a tree begins, how many nodes it has, and 0 elsewhere.

    A tree is a run of sequences of which each shares at least half of itself with the one before:
    one match's prompts, and not merely one system message.
    """
    begins = np.flatnonzero(2 * shared < lengths)
    sizes = np.add.reduceat(lengths - shared, begins) + shared[begins]
    room = np.zeros(len(lengths), dtype=np.int64)
    room[begins] = sizes
    result: list[int] = room.tolist()
    return result
