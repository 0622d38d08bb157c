"""Keys and values of tokens that were computed before."""

from __future__ import annotations

import torch


class KeyValues:
    """Keys and values of one block for the tokens computed so far.

    They lie in buffers with room for more tokens, so that adding some does not copy all. Where
    devices share the heads, `shards` holds each one's own.
    """

    def __init__(self) -> None:
        self.length = 0
        self.shards: list[KeyValues] = []
        self._keys: torch.Tensor | None = None
        self._values: torch.Tensor | None = None

    @property
    def keys(self) -> torch.Tensor | None:
        """`(kv heads, length, head)`."""
        return None if self._keys is None else self._keys[:, : self.length]

    @property
    def values(self) -> torch.Tensor | None:
        """`(kv heads, length, head)`."""
        return None if self._values is None else self._values[:, : self.length]

    def split(self, count: int) -> list[KeyValues]:
        """Return the shards of `count` devices, at first empty ones."""
        if not self.shards:
            self.shards = [KeyValues() for _ in range(count)]
        return self.shards

    def extended(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return kept and new keys and values, one after the other, until the next call."""
        if self._keys is None or self._values is None:
            return k, v
        end = self.length + k.shape[1]
        self._keys = append_rows(self._keys, self.length, k, dim=1)
        self._values = append_rows(self._values, self.length, v, dim=1)
        return self._keys[:, :end], self._values[:, :end]

    def trim(self, n: int) -> None:
        """Forget all but the first `n` tokens: the rest was padding."""
        for shard in self.shards:
            shard.trim(n)
        self.length = min(n, self.length)

    def select(self, first: int, rest: torch.Tensor) -> None:
        """Forget all but the first tokens and some of the others.

        `rest`, `(m,)` ascending, are those of the others that stay: they move up behind the first.
        """
        for shard in self.shards:
            shard.select(first, rest)
        self.length = first + len(rest) if self.length else 0
        if self._keys is None or self._values is None or not len(rest):
            return
        rest = rest.to(self._keys.device)
        for x in (self._keys, self._values):
            x[:, first : self.length] = x[:, rest]

    def keep(self, k: torch.Tensor, v: torch.Tensor) -> None:
        """Keep what `extended` returned."""
        if self._keys is None:
            self._keys, self._values = _own(k), _own(v)
        self.length = k.shape[1]


def _own(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor that keeps no larger one alive, as a part of a joined product would."""
    return x.clone() if x.untyped_storage().nbytes() > x.nbytes else x


Cache = list[KeyValues]
"""Keys and values of every block, for the nodes of one row."""


def empty_cache(blocks: int) -> Cache:
    """Return the cache of a row without nodes."""
    return [KeyValues() for _ in range(blocks)]


def append_rows(
    kept: torch.Tensor | None, length: int, new: torch.Tensor, dim: int = 0
) -> torch.Tensor:
    """Return a buffer with new rows along `dim` after the first `length`, at times with room.

    `kept` is written to where it has room; it is None where there are no rows yet.
    """
    if kept is None:
        return new
    end = length + new.shape[dim]
    if end > kept.shape[dim]:
        size = list(kept.shape)
        size[dim] = max(end, 2 * length)
        # Not joined to an empty tensor: that would write all of the room, which is mostly unused.
        roomy = kept.new_empty(size)
        roomy.narrow(dim, 0, length).copy_(kept.narrow(dim, 0, length))
        kept = roomy
    kept.narrow(dim, length, new.shape[dim]).copy_(new)
    return kept
