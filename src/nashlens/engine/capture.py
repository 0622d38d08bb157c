"""Residuals at chosen tokens of a batch of sequences, on their way from the device."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from nashlens.errors import DataError


def checked_places(sequences: Sequence[Sequence[int]], places: np.ndarray) -> np.ndarray:
    """Return places, (n, k), if each is a token of its sequence or -1."""
    places = np.asarray(places, dtype=np.int64)
    lengths = np.array([len(sequence) for sequence in sequences])
    if places.ndim != 2 or len(places) != len(sequences):
        raise DataError(f"places of shape {places.shape} for {len(sequences)} token sequences")
    beyond = np.flatnonzero(((places >= lengths[:, None]) | (places < -1)).any(axis=1))
    if len(beyond):
        first = beyond[0]
        raise DataError(
            f"sequence {first} has {lengths[first]} tokens, and its residuals were asked for at"
            f" {places[first].tolist()}"
        )
    if not ((places >= 0).any(axis=1) | (lengths == 0)).all():
        raise DataError("a sequence's residuals were asked for at no token")
    return places


class HostCopy:
    """Residuals, `(layers, n, width)`, on their way to the host, each layer when it is computed."""

    def __init__(self, layers: int, n: int, width: int):
        self._size = (layers, n, width)
        self._host: torch.Tensor | None = None
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def add(self, layer: int, values: torch.Tensor) -> None:
        """Copy `(n, width)`; a GPU continues while they are copied to pinned memory."""
        device = values.device
        cuda = device.type == "cuda"
        if self._host is None:
            self._host = torch.empty(self._size, dtype=torch.float32, pin_memory=cuda)
        if not cuda:
            self._host[layer] = values
            return
        stream = self._streams.setdefault(device, _copy_stream(device))
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self._host[layer].copy_(values.float(), non_blocking=True)
        values.record_stream(stream)

    def numpy(self) -> np.ndarray:
        """Wait for the copies and return `(n, layers, width)` float32."""
        for stream in self._streams.values():
            stream.synchronize()
        assert self._host is not None
        result: np.ndarray = self._host.numpy().transpose(1, 0, 2)
        return result


@functools.cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """Return a device's stream for copies to the host."""
    return torch.cuda.Stream(device)


class CapturedBatch(NamedTuple):
    """A batch that the device works on."""

    indices: np.ndarray
    """(b,): which sequences."""
    present: np.ndarray
    """(b, k): where there is a token."""
    which: np.ndarray
    """For each of these, which captured node."""
    copy: HostCopy

    def residuals(self) -> np.ndarray:
        """Wait for the copies and return `(b, k, layers, width)`, NaN where there is no token."""
        captured = self.copy.numpy()
        if self.present.all():
            return captured[self.which].reshape(*self.present.shape, *captured.shape[1:])
        values = np.full((*self.present.shape, *captured.shape[1:]), np.nan, dtype=np.float32)
        values[self.present] = captured[self.which]
        return values
