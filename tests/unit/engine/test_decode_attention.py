"""The ways in which new tokens attend to their slots agree, and see what they shall see alone."""

from types import SimpleNamespace

import pytest
import torch

from nashlens.engine.generation.decode_attention import by_mask, by_slot, write

# heads, kv heads, head, slots, capacity, window, softcap
SHAPES = [
    (4, 2, 16, 3, 64, None, None),
    (8, 2, 64, 5, 128, None, None),
    (6, 3, 24, 4, 64, None, None),
    (4, 4, 128, 3, 192, None, 20.0),
    (4, 2, 16, 5, 64, 7, None),
    (4, 1, 32, 5, 64, 7, 5.0),
]


def case(shape, device="cpu", dtype=torch.float32):
    heads, kv_heads, head, slots, capacity, window, softcap = shape
    block = SimpleNamespace(
        kv_heads=kv_heads, head_dim=head, scale=head**-0.5, window=window, softcap=softcap
    )
    random = torch.Generator().manual_seed(heads * capacity)

    def normal(*size):
        return (2 * torch.randn(size, generator=random)).to(device, dtype)

    q = normal(slots, heads, head).transpose(0, 1)
    k, v = (normal(slots, kv_heads, head).transpose(0, 1) for _ in range(2))
    keys, values = (normal(slots, kv_heads, capacity, head) for _ in range(2))
    position = torch.tensor([0, capacity - 1, 5, 17, 33][:slots], device=device)
    return block, q, k, v, keys, values, position


def plain(block, q, k, v, keys, values, position):
    """Softmax attention of one query to one list of keys at a time, in float64."""
    result = torch.empty(q.shape, dtype=torch.float64)
    for head in range(len(q)):
        of = head // (len(q) // len(k))
        for slot, at in enumerate(position.tolist()):
            first = 0 if block.window is None else max(0, at + 1 - block.window)
            ks = torch.cat((keys[slot, of, first:at], k[of, slot][None])).double().cpu()
            vs = torch.cat((values[slot, of, first:at], v[of, slot][None])).double().cpu()
            scores = ks @ q[head, slot].double().cpu() * block.scale
            if block.softcap is not None:
                scores = block.softcap * torch.tanh(scores / block.softcap)
            result[head, slot] = torch.softmax(scores, dim=0) @ vs
    return result


@pytest.mark.parametrize("shape", SHAPES)
def test_slots_and_mask_agree_with_plain_attention(shape):
    block, q, k, v, keys, values, position = case(shape)
    expected = plain(block, q, k, v, keys, values, position)
    rows = torch.arange(len(position))
    write(k, keys, rows, position)
    write(v, values, rows, position)
    some = rows[1:].flip(0)
    torch.testing.assert_close(
        by_slot(block, q[:, some], keys, values, some, position[some]).double(),
        expected[:, some],
        atol=1e-5,
        rtol=1e-5,
    )
    masked = by_mask(block, q, keys, values, position, keys.shape[2])
    torch.testing.assert_close(masked.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("parts", [None, 1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs a GPU")
def test_the_kernel_agrees_with_plain_attention(shape, parts):
    from nashlens.engine.generation.decode_kernel import by_kernel

    block, q, k, v, keys, values, position = case(shape, "cuda")
    expected = plain(block, q, k, v, keys, values, position)
    written = keys.clone(), values.clone()
    for new, kept in zip((k, v), written, strict=True):
        write(new, kept, torch.arange(len(position), device="cuda"), position)
    # What lies beyond a slot's tokens is never read.
    keys[0, :, 1:], values[0, :, 1:] = float("nan"), float("nan")
    ours = by_kernel(block, q, k, v, keys, values, position, parts=parts, tile=32)
    torch.testing.assert_close(ours.double().cpu(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(keys[1:], written[0][1:])
    assert torch.equal(values[1:], written[1][1:])
