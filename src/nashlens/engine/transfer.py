"""Copies to a device that the host does not wait for.

The host launches a pass of many blocks long before a GPU has computed them. A plain copy makes it
wait until all that was launched is done, and then the GPU waits for the host.
"""

from __future__ import annotations

import torch


def copy_to(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy values to a device, as its later work sees them."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    # Pinned memory is the caller's no longer, and is used again once the copy is done.
    return values.pin_memory().to(device, non_blocking=True)
