"""Prefix forests: each shared token prefix of a set of prompts is computed once.

A `Row` packs token sequences as one trie. Its nodes are tokens, in an order in which parents
precede children; a node attends to itself and its ancestors, and its position is its depth.
A causal model's state at a node depends on the path from the root alone, so every sequence that
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
    """One packed trie of token sequences; it may grow by further insertions.

    Attributes
    ----------
    tokens, parent, depth : list of int
        One entry a node.
    """

    tokens: list[int] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    # Made when `insert` first needs it: packing knows where each sequence branches off.
    _children: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    def append(self, above: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
        """Add new nodes below a path, whether or not equal ones exist; return the longer path.

        Parameters
        ----------
        above : numpy.ndarray
            Path of the nodes above, from the root; empty for a new root.
        tokens : sequence of int

        Returns
        -------
        numpy.ndarray
            `above`, then one new node for each token.
        """
        start, count, depth = len(self.tokens), len(tokens), len(above)
        if count:
            self.tokens.extend(tokens)
            self.parent.append(int(above[-1]) if depth else -1)
            self.parent.extend(range(start, start + count - 1))
            self.depth.extend(range(depth, depth + count))
        return np.concatenate((above, np.arange(start, start + count)))

    def insert(self, sequence: Sequence[int]) -> np.ndarray:
        """Add a sequence, sharing what the row holds of it, and return its path.

        Parameters
        ----------
        sequence : sequence of int
            Token ids, at least one.

        Returns
        -------
        numpy.ndarray
            Shape `(len(sequence),)`: the node of each token.

        Raises
        ------
        DataError
            If the sequence is empty.
        """
        if len(sequence) == 0:
            raise DataError("a token sequence is empty; every prompt needs at least one token")
        found = self._find(sequence)
        path = self.append(np.array(found, dtype=np.int64), sequence[len(found) :])
        for node in path[len(found) :].tolist():
            self._children[self.parent[node], self.tokens[node]] = node
        return path

    def _find(self, sequence: Sequence[int]) -> list[int]:
        """Return the nodes of the longest prefix of a sequence that the row holds."""
        path: list[int] = []
        node = -1
        for token in sequence:
            child = self._children.get((node, int(token)))
            if child is None:
                break
            path.append(child)
            node = child
        return path

    def ends(self) -> np.ndarray | None:
        """Return the index after each node's subtree, or None if the order is not depth-first.

        Depth-first, node j's subtree is `j .. ends[j] - 1`, so key j is seen by query i exactly
        when `j <= i < ends[j]`: the whole mask is one integer a node.
        """
        n = len(self)
        ends = np.full(n, n, dtype=np.int64)
        open_nodes: list[int] = []
        for node in range(n):
            while open_nodes and open_nodes[-1] != self.parent[node]:
                ends[open_nodes.pop()] = node
            if self.parent[node] >= 0 and not open_nodes:
                return None
            open_nodes.append(node)
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
        How many of them were in the row before it.
    """

    index: int
    path: np.ndarray
    shared: int


def shared_prefix(first: np.ndarray, second: np.ndarray) -> int:
    """Return the length of the longest common prefix of two arrays."""
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    return int(differs.argmax()) if differs.any() else length


def pack(
    sequences: Sequence[Sequence[int]], max_tokens: int
) -> Iterator[tuple[Row, list[PackedSequence]]]:
    """Pack sequences into rows of at most `max_tokens` nodes.

    Sequences are taken in lexicographic order, so that neighbours share the longest prefixes and
    the nodes of a row come in depth-first order. The packing depends on the sequences alone. A
    sequence longer than the budget gets a row of its own.

    Parameters
    ----------
    sequences : sequence of sequences of int
        Token ids. Duplicates and prefixes of one another are fine.
    max_tokens : int
        Budget of nodes a row.

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
    # Big-endian bytes sort as the ids do, much faster than tuples.
    keys = [array.astype(">u4").tobytes() for array in arrays]
    order = sorted(range(len(arrays)), key=lambda i: (keys[i], i))
    shared = [0] + [shared_prefix(arrays[a], arrays[b]) for a, b in itertools.pairwise(order)]
    room = _room(np.array([len(arrays[i]) for i in order]), np.array(shared))
    nothing = np.empty(0, dtype=np.int64)
    row, path = Row(), nothing
    packed: list[PackedSequence] = []
    for index, have, tree in zip(order, shared, room, strict=True):
        new = len(arrays[index]) - have
        # A tree that would fit a row of its own is not cut: each part would compute its stem anew.
        need = tree if len(row) + tree > max_tokens >= tree else new
        if packed and new and len(row) + need > max_tokens:
            yield row, packed
            row, path, packed = Row(), nothing, []
        above = path[:have]
        path = row.append(above, arrays[index][len(above) :].tolist())
        packed.append(PackedSequence(index, path, len(above)))
    yield row, packed


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
