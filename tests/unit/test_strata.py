"""Layouts of blocks, against the same by pandas' groups of names."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.factorial import ScenarioBlocks
from nashlens.strata import Layout

STRATA = ("game", "template", "label_set")


def grouped(frame, cluster, strata):
    """Return code, size, owner, weight and group of a layout, as slowly as they are defined."""
    stratum = frame.groupby(list(strata)).ngroup()
    owner = pd.factorize(frame[cluster])[0]
    cells = pd.DataFrame({"stratum": stratum, "owner": owner, "game": frame[strata[0]]})
    by_cell = cells.groupby(["stratum", "owner"])
    code, cell = by_cell.ngroup().to_numpy(), by_cell.first().reset_index()
    strata_of_game = cell.groupby("game")["stratum"].transform("nunique")
    clusters_of_stratum = cell.groupby("stratum")["owner"].transform("size")
    weight = 1.0 / (cell["game"].nunique() * strata_of_game * clusters_of_stratum)
    return code, by_cell.size(), cell["owner"], weight, collapsed(cell)


def collapsed(cell):
    """Return the group of each cluster: those with the same strata, or one with others."""
    strata = cell.groupby("owner")["stratum"].agg(lambda one: tuple(sorted(one)))
    games = cell.groupby("owner")["game"].agg(lambda one: tuple(sorted(set(one))))
    group = dict(strata)
    for game in games.unique():
        of_game = [owner for owner in games.index if games[owner] == game]
        named = [group[owner] for owner in games.index]
        alone = [owner for owner in of_game if named.count(group[owner]) == 1]
        others = {group[owner]: named.count(group[owner]) for owner in of_game}
        others = {one: size for one, size in others.items() if size > 1}
        # With the smallest, and of these with the one that comes first.
        goal = min(others, key=others.get) if len(alone) == 1 and others else game
        group |= dict.fromkeys(alone, goal)
    return pd.factorize(pd.Series([str(group[owner]) for owner in games.index]))[0]


@st.composite
def frames(draw):
    """Blocks of some games, templates, label sets and histories, in any order."""
    cells = itertools.product(["g", "h", "f"], ["t", "s"], ["l", "m"], range(4))
    chosen = draw(st.lists(st.sampled_from(list(cells)), min_size=1, max_size=30))
    frame = pd.DataFrame(chosen, columns=[*STRATA, "history"])
    crossed = draw(st.booleans())
    parts = [frame["game"], frame["history"].astype(str)]
    parts += [] if crossed else [frame["template"], frame["label_set"]]
    return frame.assign(match_id=parts[0].str.cat(parts[1:], sep="/"))


@settings(max_examples=200, deadline=None)
@given(frames())
def test_a_layout_is_that_of_groups_of_names(frame):
    found = Layout.of(frame, "match_id", STRATA)
    slow = grouped(frame, "match_id", STRATA)
    for name, wanted in zip(("code", "size", "owner", "weight", "group"), slow, strict=True):
        np.testing.assert_array_equal(getattr(found, name), wanted, err_msg=name)
    assert found.n_clusters == frame["match_id"].nunique()


def test_what_has_no_stratum_is_refused():
    frame = pd.DataFrame({"game": ["g", None], "match_id": ["a", "b"]})
    with pytest.raises(ValueError, match="needs a game"):
        Layout.of(frame, "match_id", ["game"])


CELLS = list(itertools.product(["identity", "swapped"], ["forward", "reversed"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(CELLS)), max_size=40))
def test_a_block_is_complete_with_each_of_its_cells_once(drawn):
    rows = pd.DataFrame(
        [(block, *cell) for block, cell in drawn],
        columns=["block_id", "label_map", "option_order"],
    ).assign(match_id="x", game="g", template="t", label_set="l")
    whole = {b for b in "abcd" if sorted(c for a, c in drawn if a == b) == sorted(CELLS)}
    blocks = ScenarioBlocks(rows)
    assert blocks.used.tolist() == [block in whole for block, _ in drawn]
    assert blocks.n_incomplete == len({block for block, _ in drawn} - whole)
    in_order = [block for block in dict.fromkeys(b for b, _ in drawn) if block in whole]
    assert blocks.frame["block_id"].tolist() == in_order
    values = np.arange(len(rows), dtype=float)
    wanted = [np.mean([values[k] for k, one in enumerate(drawn) if one[0] == b]) for b in in_order]
    assert blocks.means(values)[:, 0].tolist() == wanted
