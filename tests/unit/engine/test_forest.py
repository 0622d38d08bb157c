import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nashlens.engine.forest import Row, pack, shared_prefix
from nashlens.engine.segments import path_segments
from nashlens.errors import DataError

sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=20)


@given(sequences, st.integers(1, 40))
def test_every_sequence_is_packed_once_and_can_be_read_back(seqs, budget):
    seen = []
    for row, packed in pack(seqs, budget):
        for p in packed:
            assert [row.tokens[n] for n in p.path] == seqs[p.index]
            assert [row.depth[n] for n in p.path] == list(range(len(p.path)))
            seen.append(p.index)
    assert sorted(seen) == list(range(len(seqs)))


@given(sequences, st.integers(1, 40), st.integers(1, 8))
def test_short_and_long_sequences_can_be_kept_apart(seqs, budget, short):
    seen = []
    for row, packed in pack(seqs, budget, short):
        assert len({len(seqs[p.index]) > short for p in packed}) == 1
        for p in packed:
            assert [row.tokens[n] for n in p.path] == seqs[p.index]
            seen.append(p.index)
    assert sorted(seen) == list(range(len(seqs)))


@given(sequences, st.integers(1, 40))
def test_a_row_keeps_the_budget_unless_one_sequence_alone_exceeds_it(seqs, budget):
    for row, packed in pack(seqs, budget):
        assert len(row) <= budget or sum(len(p.path) > p.shared for p in packed) == 1


@given(sequences, st.integers(1, 40), st.integers(1, 6))
def test_a_row_holds_no_more_sequences_than_it_may(seqs, budget, most):
    seen = []
    for row, packed in pack(seqs, budget, most=most):
        assert len(packed) <= most
        for p in packed:
            assert [row.tokens[n] for n in p.path] == seqs[p.index]
            seen.append(p.index)
    assert sorted(seen) == list(range(len(seqs)))


@given(sequences)
def test_each_distinct_prefix_is_one_node(seqs):
    ((row, _),) = pack(seqs, 10**6)
    assert len(row) == len({tuple(s[: i + 1]) for s in seqs for i in range(len(s))})


def ancestors(row):
    """The slow oracle of who sees whom."""
    mask = np.zeros((len(row), len(row)), dtype=bool)
    for node in range(len(row)):
        above = node
        while above >= 0:
            mask[node, above] = True
            above = row.parent[above]
    return mask


@given(sequences, st.integers(1, 40))
def test_segments_cover_every_node_once_and_show_it_its_ancestors(seqs, budget):
    for row, packed in pack(seqs, budget):
        seen = np.zeros((len(row), len(row)), dtype=int)
        for segment in path_segments(packed, 0):
            t, k = len(segment.tokens), len(segment.keys)
            mask = np.tri(t, k, dtype=bool) if segment.mask is None else segment.mask.numpy()
            seen[np.ix_(segment.tokens.numpy(), segment.keys.numpy())] += mask
        assert (seen == ancestors(row)).all()


@given(sequences, st.randoms(use_true_random=False))
def test_packing_does_not_depend_on_the_callers_order(seqs, random):
    order = list(range(len(seqs)))
    random.shuffle(order)
    rows = [row.tokens for row, _ in pack(seqs, 12)]
    assert rows == [row.tokens for row, _ in pack([seqs[i] for i in order], 12)]


def test_shared_prefix_counts_leading_tokens():
    assert shared_prefix(np.array([1, 2, 3]), np.array([1, 2])) == 2
    assert shared_prefix(np.array([5]), np.array([1, 2])) == 0


@given(sequences, st.randoms(use_true_random=False))
def test_a_hint_does_not_change_what_is_inserted(seqs, random):
    plain, hinted, known = Row(), Row(), []
    for seq in seqs:
        expected = plain.insert(seq)
        path = hinted.insert(seq, like=random.choice(known) if known else None)
        known.append((seq, path))
        assert path.tolist() == expected.tolist()
    assert (plain.tokens, plain.parent) == (hinted.tokens, hinted.parent)


def test_the_largest_subtree_comes_first():
    trunk = [1, 5, 6, 7, 8]
    ((row, packed),) = pack([[1, 2, 3], [1, 5, 4], trunk, [1, 5, 6, 3]], 99)
    assert row.tokens == [1, 5, 6, 7, 8, 3, 4, 2, 3]
    assert {p.index: p.shared for p in packed} == {2: 0, 3: 3, 1: 2, 0: 1}


@pytest.mark.parametrize("seqs", [[], [[1], []]])
def test_nothing_to_pack_is_refused(seqs):
    with pytest.raises(DataError):
        list(pack(seqs, 8))


@given(sequences)
def test_a_packed_row_is_depth_first_and_its_mask_one_integer_a_node(seqs):
    for row, _ in pack(seqs, 12):
        ends = row.ends()
        i, j = np.indices((len(row), len(row)))
        assert (((j <= i) & (i < ends[j])) == ancestors(row)).all()


@given(sequences)
def test_insertion_in_any_order_makes_the_same_trie(seqs):
    row = Row()
    paths = [row.insert(s) for s in seqs]
    assert len(row) == len({tuple(s[: i + 1]) for s in seqs for i in range(len(s))})
    for sequence, path in zip(seqs, paths, strict=True):
        assert [row.tokens[n] for n in path] == sequence
        assert [row.parent[n] for n in path] == [-1, *path[:-1]]


@given(sequences, st.data())
def test_a_selection_is_the_trie_of_the_sequences_that_stay(seqs, data):
    row = Row()
    paths = [row.insert(s) for s in seqs]
    stay = data.draw(st.lists(st.booleans(), min_size=len(seqs), max_size=len(seqs)))
    chosen = [i for i, stays in enumerate(stay) if stays]
    nodes = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *[paths[i] for i in chosen]]))
    moved = row.select(nodes)
    assert len(row) == len(nodes) == (moved >= 0).sum()
    known = len(row)
    for i in chosen:
        assert [row.tokens[n] for n in moved[paths[i]]] == seqs[i]
        assert row.insert(seqs[i]).tolist() == moved[paths[i]].tolist()
    assert len(row) == known, "what stays is found again"
    for s in seqs:
        row.insert(s)
    assert len(row) == len({tuple(s[: i + 1]) for s in seqs for i in range(len(s))})


def test_a_row_in_another_order_has_no_ends():
    row = Row()
    for sequence in ([1, 2], [3], [1, 4]):
        row.insert(sequence)
    assert row.ends() is None
