"""Kinds of edits against their formulas for one residual matrix, and a kind of two directions."""

import math

import numpy as np
import pytest
import torch

from nashlens.engine import edits
from nashlens.engine.edits import KINDS, Edit, EditBatch, KindOfEdit
from nashlens.errors import DataError
from tests import reference

VALUES = (-1.5, 0.0, 2.0)


def residuals():
    return torch.randn(len(VALUES), 4, 8, generator=torch.Generator().manual_seed(0))


def applied(batch, h):
    return batch.apply(3, h, np.arange(len(h)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_edit_is_its_formula(kind, rng):
    vectors = rng.normal(size=(max(1, KINDS[kind].directions), 8))
    some, h = [Edit(3, kind, vectors, value) for value in VALUES], residuals()
    units = [] if kind == "none" else torch.from_numpy(some[0].units())
    expected = [reference.EDITS[kind](h[i], *units, value) for i, value in enumerate(VALUES)]
    torch.testing.assert_close(applied(EditBatch(some), h), torch.stack(expected))


def test_kinds_in_one_batch_do_not_touch_one_another(rng):
    vector, h = rng.normal(size=8), residuals()
    mixed = [Edit(3, kind, vector, 2.0) for kind in ("add", "none", "clamp")]
    found = applied(EditBatch(mixed), h)
    assert torch.equal(found[1], h[1])
    for i in (0, 2):
        assert torch.equal(found[i : i + 1], applied(EditBatch([mixed[i]]), h[i : i + 1]))


def rotated(h, units, value):
    """Rotate by an angle in the plane of two directions."""
    first = units[:, :1]
    second = units[:, 1:] - (units[:, 1:] * first).sum(-1, keepdim=True) * first
    second = second / second.norm(dim=-1, keepdim=True)
    x, y = ((h * u).sum(-1, keepdim=True) for u in (first, second))
    cos, sin = value.cos(), value.sin()
    return h + ((cos - 1) * x - sin * y) * first + (sin * x + (cos - 1) * y) * second


def test_a_kind_may_have_several_directions(monkeypatch, rng):
    monkeypatch.setitem(edits.KINDS, "rotate", KindOfEdit(rotated, directions=2))
    plane, h = np.linalg.qr(rng.normal(size=(8, 2)))[0].T, residuals()
    turn = Edit(3, "rotate", plane, math.pi / 2)
    found = applied(EditBatch([turn, Edit(3, "add", plane[0], 1.0), turn]), h)
    x, y = torch.from_numpy(plane.astype(np.float32))
    torch.testing.assert_close(found[0] @ y, h[0] @ x)
    torch.testing.assert_close(found[0] @ x, -(h[0] @ y))
    torch.testing.assert_close(found.norm(dim=-1)[[0, 2]], h.norm(dim=-1)[[0, 2]])
    torch.testing.assert_close(found[1], h[1] + x)
    with pytest.raises(DataError, match="has 1 directions; rotate needs 2"):
        EditBatch([Edit(3, "rotate", plane[0], 1.0)])
