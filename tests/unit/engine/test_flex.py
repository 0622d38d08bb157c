"""Block-sparse masks and the capped score, on a CPU, against dense ones."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import flex_attention

from nashlens.engine import flex
from nashlens.engine.flex import TreeMask, capped
from nashlens.engine.forest import pack
from nashlens.engine.segments import SegmentAttention, path_segments

CPU = torch.device("cpu")
sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=20)


def seen(row, window):
    """The slow oracle: itself and its ancestors, `window - 1` of them at most."""
    mask = np.zeros((len(row), len(row)), dtype=bool)
    for node in range(len(row)):
        above, steps = node, 0
        while above >= 0 and (window is None or steps < window):
            mask[node, above] = True
            above, steps = row.parent[above], steps + 1
    return mask


@given(sequences, st.one_of(st.none(), st.integers(1, 9)))
def test_a_mask_shows_ancestors_within_the_window(seqs, window):
    for row, _ in pack(seqs, 25):
        tree = TreeMask(row.ends(), np.array(row.depth), CPU)
        i, j = torch.from_numpy(np.indices((len(row), len(row))))
        expected = torch.from_numpy(seen(row, window))
        assert (tree.visible(window)(0, 0, i, j) == expected).all()


def test_a_window_that_covers_the_row_is_the_plain_mask():
    ((row, _),) = pack([[1, 2, 3, 4], [1, 5]], 25)
    tree = TreeMask(row.ends(), np.array(row.depth), CPU)
    assert tree.within(4) is tree.within(None)
    assert tree.within(3) is not tree.within(None)
    assert tree.within(3) is tree.within(3)
    assert tree.to(CPU) is tree


@pytest.mark.parametrize("softcap", [None, 0.4])
@pytest.mark.parametrize("window", [None, 3])
def test_flex_attention_equals_segments(rng, softcap, window):
    seqs = [rng.integers(0, 3, n).tolist() for n in (9, 14, 20, 31)]
    ((row, packed),) = pack(seqs, 200)
    random = torch.Generator().manual_seed(0)
    q = torch.randn(4, len(row), 16, generator=random)
    k, v = (torch.randn(2, len(row), 16, generator=random) for _ in range(2))
    depth = np.array(row.depth)
    found = flex_attention(
        q[None],
        k[None],
        v[None],
        score_mod=None if softcap is None else capped(softcap),
        block_mask=TreeMask(row.ends(), depth, CPU).within(window),
        scale=0.3,
        enable_gqa=True,
    )[0]
    attention = SegmentAttention(path_segments(packed, 0), depth, CPU)
    expected = attention(q, k, v, 0.3, softcap=softcap, window=window)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("window", [None, 3])
def test_a_few_wanted_tokens_attend_as_among_all(rng, window):
    ((row, _),) = pack([rng.integers(0, 3, n).tolist() for n in (9, 14, 20, 31)], 200)
    random = torch.Generator().manual_seed(0)
    q = torch.randn(4, len(row), 16, generator=random)
    k, v = (torch.randn(2, len(row), 16, generator=random) for _ in range(2))
    tree = TreeMask(row.ends(), np.array(row.depth), CPU)
    wanted = np.array([len(row) - 1, 3, 17, 3])  # in any order, and more than once
    mask = tree.within(window)
    expected = flex_attention(q[None], k[None], v[None], block_mask=mask, enable_gqa=True)[0]
    few = tree.only(wanted)
    assert isinstance(few, SegmentAttention)
    found = few(q, k, v, 0.25, window=window)
    torch.testing.assert_close(found[:, wanted], expected[:, wanted])


def test_many_wanted_tokens_keep_the_block_sparse_mask(monkeypatch):
    ((row, _),) = pack([[1, 2, 3, 4], [1, 5]], 25)
    tree = TreeMask(row.ends(), np.array(row.depth), CPU)
    monkeypatch.setattr(flex, "_DENSE_CELLS", 2 * len(row))
    assert tree.only(np.arange(3)) is tree
    assert tree.only(np.arange(2)) is not tree


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=30),
    st.one_of(st.none(), st.integers(1, 9)),
)
def test_the_blocks_of_a_mask_hold_all_that_is_seen(seqs, window):
    """Blocks seen wholly are, and none that is left out has a pair that is seen."""
    for row, _ in pack(seqs, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(flex, "_BLOCK", 4)
            tree = TreeMask(row.ends(), np.array(row.depth), CPU)
            some, which, wholes, whole = (t[0, 0].numpy() for t in tree._tables(window))
        expected = seen(row, window)
        for q in range(-(-len(row) // 4)):
            rows = slice(4 * q, 4 * q + 4)
            partly, wholly = set(which[q, : some[q]]), set(whole[q, : wholes[q]])
            assert not partly & wholly
            for k in range(-(-len(row) // 4)):
                block = expected[rows, 4 * k : 4 * k + 4]
                assert k not in wholly or block.all()
                assert k in partly | wholly or not block.any()
