"""Patching between pairs of planted models finds the path of the payoffs that was planted."""

import numpy as np
import pandas as pd
import pytest

from nashlens.circuits.patches import Patches
from nashlens.circuits.patching import Patch, choose_pairs, patch_name
from nashlens.circuits.patching_summary import patching_estimates
from nashlens.engine.labels import LabelledPrompt, labelled_prompts
from nashlens.engine.patching import Change
from nashlens.engine.paths import Path, path_scores
from nashlens.engine.recording import Site
from nashlens.errors import DataError
from nashlens.planted.reading import READ
from nashlens.prompts.groups import group_indices
from tests.unit.engine.test_patching import expected
from tests.unit.findings.tables import PLANTED_PATH, patching

from .nash_pairs import GROUPS, HOW, KINDS, patched


@pytest.fixture(scope="module")
def table(nash_engine, nash_pairs):
    return patched(nash_engine, nash_pairs)


def share(table, kind, part="action", direction="destroy"):
    patches = Patches(table, kind, direction)
    means = patches.blocks.estimate(patches.parts[part]).estimate
    return pd.Series(means[1:] / means[0], index=patches.places.index)


def test_the_planted_path_is_found(table):
    found = share(table, "payoffs")
    # Block 3 computes at the labels, block 4 gathers at the question mark, the plant is behind it.
    path = {0: "payoffs", 2: "payoffs", READ - 1: "options", READ: "question", 5: "decision"}
    for layer, group in path.items():
        assert found[f"residual/{layer}/{group}"] == pytest.approx(1.0, abs=0.05)
        others = [f"residual/{layer}/{name}" for name in GROUPS if name != group]
        assert np.abs(found[others]).max() < 0.05, layer


def test_a_pair_has_the_difference_of_its_prompts_answers(nash_engine, nash_pairs, table):
    here = table[table["patch"] == "residual/0/payoffs"]
    ids = nash_pairs.set_index("pair_id")
    for direction, (into, source) in {
        "destroy": ("ids", "source_ids"),
        "restore": ("source_ids", "ids"),
    }.items():
        row = here[here["direction"] == direction].iloc[0]
        pair = ids.loc[row["pair_id"]]
        labels = (pair["label_tokens_0"].tolist(), pair["label_tokens_1"].tolist())
        asked = [LabelledPrompt(pair[name].tolist(), labels) for name in (into, source)]
        logprobs = nash_engine.label_logprobs(asked)
        logits = logprobs[:, 1] - logprobs[:, 0]
        assert row["logit"] == pytest.approx(logits[0], abs=1e-3)
        assert row["total"] == pytest.approx(logits[1] - logits[0], abs=1e-3)


def test_exchanged_labels_are_read_where_an_action_is_answered(table):
    rows = table[table["kind"] == "labels"]
    assert set(rows["direction"]) == {"destroy"}
    found = share(table, "labels")
    # After block 5 the decision knows the action, and looks up its label later.
    assert abs(found["residual/5/decision"]) < 0.05
    assert found["residual/5/options"] == pytest.approx(1.0, abs=0.05)
    assert found["residual/12/decision"] == pytest.approx(1.0, abs=0.05)


def test_a_patch_that_can_change_nothing_is_not_computed(table):
    history = table[(table["kind"] == "history") & (table["group"] == "payoffs")]
    assert (history["effect"] == 0).all()
    embedding = table[(table["kind"] == "payoffs") & (table["layer"] == 0)]
    assert (embedding.loc[embedding["group"] == "question", "effect"] == 0).all()


def test_heads_and_what_blocks_add(nash_engine, nash_pairs):
    table = patched(
        nash_engine, nash_pairs, kinds=["payoffs"], layers=[3], groups=["options"],
        sites=["attention", "mlp"], heads=["options"],
    )  # fmt: skip
    assert list(dict.fromkeys(table["site"])) == ["attention", "mlp", "head"]
    assert table["patch"].nunique() == 2 + nash_engine.n_heads
    assert (table.loc[table["site"] == "head", "head"] >= 0).all()


def test_a_group_that_no_prompt_has_is_left_out(nash_engine, nash_pairs):
    groups = ["round_last-9", "rounds", "options"]
    found = patched(nash_engine, nash_pairs, kinds=["payoffs"], layers=[3], groups=groups)
    assert set(found["group"]) == {"rounds", "options"}


def test_pairs_of_all_kinds_are_of_the_same_blocks(nash_pairs):
    chosen = [choose_pairs(nash_pairs, kind, KINDS, ["deadlock"], 8, 1) for kind in KINDS]
    assert len({tuple(one["block_id"]) for one in chosen}) == 1
    assert all(len(one) == 8 for one in chosen)


def test_a_history_is_patched_with_its_mirror_image(nash_pairs):
    chosen = choose_pairs(nash_pairs, "payoffs", KINDS, ["deadlock"], 8, 1)
    assert chosen["match_id"].nunique() == 1
    assert chosen.groupby("mirrored")["pair_id"].size().to_dict() == {False: 4, True: 4}
    both = choose_pairs(nash_pairs, "payoffs", KINDS, ["deadlock"], 16, 1)
    assert both.groupby("match_id")["mirrored"].sum().tolist() == [4, 4]


def test_without_an_aligned_pair_the_table_is_empty(nash_engine, nash_pairs):
    table = patched(nash_engine, nash_pairs.assign(dropped="not aligned"))
    assert table.empty
    assert {"pair_id", "direction", "patch", "effect", "match_id"} <= set(table.columns)
    assert patching_estimates(table, model="nash", how=HOW).empty


def test_names_of_patches():
    assert patch_name(Patch("residual", 0, -1, "payoffs")) == "residual/0/payoffs"
    assert patch_name(Patch("head", 3, 2, "decision")) == "head/3.2/decision"


def test_each_direction_is_an_estimate_of_its_own():
    one = patching(PLANTED_PATH, noise=0.0)
    both = patching(PLANTED_PATH, noise=0.0, directions=("destroy", "restore"))
    halved = both["effect"].where(both["direction"] == "destroy", both["effect"] / 2)
    both = both.assign(effect=halved)
    parts = [Patches(table, "payoffs", "destroy").parts for table in (one, both)]
    restored = Patches(both, "payoffs", "restore").parts
    for part in ("action", "word", "place"):
        assert parts[0][part] == pytest.approx(parts[1][part])
        assert parts[0][part][:, 1:] == pytest.approx(2 * restored[part][:, 1:])
        assert parts[0][part][:, 0] == pytest.approx(restored[part][:, 0])
    found = patching_estimates(both, model="m", how=HOW).set_index(
        ["direction", "quantity", "patch"]
    )
    shares = found[found["kind"] == "payoffs"]["share"]
    for direction, share in (("destroy", 0.9), ("restore", 0.45)):
        place = shares[direction, "action_part", "residual/4/options"]
        assert place == pytest.approx(share, abs=0.01)


def test_estimates_have_shares_where_there_is_a_difference():
    found = patching_estimates(patching(PLANTED_PATH), model="m", how=HOW)
    action = found[(found["kind"] == "payoffs") & (found["quantity"] == "action_part")]
    action = action.set_index("patch")
    assert action.loc["total", "estimate"] == pytest.approx(3.0, abs=0.05)
    assert action.loc["total", "interval"] == "student"
    options = action.loc["residual/4/options"]
    assert options["share"] == pytest.approx(0.9, abs=0.02)
    assert options["share_low"] < options["share"] < options["share_high"]
    word = found[(found["kind"] == "payoffs") & (found["quantity"] == "word_part")]
    assert word.set_index("patch").loc["total", "estimate"] == pytest.approx(0.5, abs=0.05)
    control = found[(found["kind"] == "history") & (found["quantity"] == "action_part")]
    assert control["share"].isna().all()


@pytest.mark.parametrize(
    ("kind", "direction"),
    [
        ("payoffs", "destroy"),
        ("payoffs", "restore"),
        ("history", "restore"),
        ("labels", "destroy"),
    ],
)
def test_the_table_equals_plain_hooks(nash_plain, nash_engine, nash_pairs, kind, direction):
    """Named groups of tokens, from the table of pairs to that of patches."""
    table = patched(
        nash_engine, nash_pairs, kinds=[kind], layers=[3], directions=[direction],
        sites=["residual", "attention", "mlp"], heads=["decision"],
    )  # fmt: skip
    rows = table[table["pair_id"] == table["pair_id"].iloc[0]]
    pair = nash_pairs[nash_pairs["pair_id"] == rows["pair_id"].iloc[0]]
    columns = ["ids", "source_ids"] if direction == "destroy" else ["source_ids", "ids"]
    into, source = (labelled_prompts(pair, name)[0] for name in columns)
    groups = group_indices(list(pair["groups"].iloc[0]), GROUPS)
    places = rows[["site", "layer", "head", "group"]].itertuples(index=False)
    changes = [Change((), "decision"), *(Patch(*place).change for place in places)]
    theirs = np.array(
        [
            expected(nash_plain, into, list(source.ids), change, groups[change.group], {})
            for change in changes
        ]
    )
    logits = theirs[:, 1] - theirs[:, 0]
    # A logit is the difference of two log P, each to 1e-5 of itself.
    bound = 1e-5 * np.maximum(1.0, np.abs(theirs)).sum(axis=1)
    assert rows["logit"].iloc[0] == pytest.approx(logits[0], abs=bound[0])
    ours = (rows["logit"] + rows["effect"]).to_numpy(float)
    assert (np.abs(ours - logits[1:]) <= bound[1:]).all()
    # Something is moved, by far more than that.
    assert np.ptp(logits) > 30 * bound.max()


PATHS = ["embedding/3.attention/payoffs", "2.mlp/4.attention/options", "3.1/12.mlp/decision"]


def test_paths_are_those_of_the_engine(nash_engine, nash_pairs):
    table = patched(
        nash_engine, nash_pairs, kinds=["payoffs"], layers=[3], groups=["options"], paths=PATHS
    )
    places = table.drop_duplicates("patch").set_index("patch")[["site", "layer", "head", "group"]]
    assert list(places.index[-3:]) == [f"path/{name}" for name in PATHS]
    assert tuple(places.loc["path/3.1/12.mlp/decision"]) == ("path", 12, -1, "decision")
    engines = [
        Path(Site("residual", 0), Site("attention", 3), "payoffs"),
        Path(Site("mlp", 2), Site("attention", 4), "options"),
        Path(Site("head", 3, 1), Site("mlp", 12), "decision"),
    ]
    for direction, columns in {
        "destroy": ["ids", "source_ids"], "restore": ["source_ids", "ids"],
    }.items():  # fmt: skip
        rows = table[table["direction"] == direction]
        some = list(dict.fromkeys(rows["pair_id"]))[:3]
        these = nash_pairs.set_index("pair_id").loc[some].reset_index()
        into, source = (labelled_prompts(these, name) for name in columns)
        theirs = path_scores(
            nash_engine, into, engines, sources=[list(one.ids) for one in source],
            groups=[group_indices(list(one), GROUPS) for one in these["groups"]],
        )  # fmt: skip
        own = nash_engine.label_logprobs(into)
        theirs = theirs[..., 1] - theirs[..., 0] - (own[:, 1] - own[:, 0])[:, None]
        ours = rows.pivot(index="pair_id", columns="patch", values="effect").loc[some]
        ours = ours[[f"path/{name}" for name in PATHS]].to_numpy()
        assert np.abs(theirs).max() > 0.1
        assert np.abs(ours - theirs).max() < 1e-4


def test_a_path_has_its_own_estimate_and_is_never_screened(nash_engine, nash_pairs):
    what = {"kinds": ["payoffs", "history"], "layers": [3], "groups": ["options", "decision"]}
    table = patched(nash_engine, nash_pairs, **what, paths=PATHS, screen=1)
    paths = table[table["site"] == "path"]
    assert set(paths["chosen"]) == {"all"}
    assert paths["effect"].notna().all()
    assert paths["screened"].isna().all()
    # Values of the payoffs are the same in prompts that differ in a later move.
    sent = paths[(paths["kind"] == "history") & (paths["group"] == "payoffs")]
    assert (sent["effect"] == 0).all()
    found = patching_estimates(table, model="nash", how=HOW)
    rows = found[(found["site"] == "path") & (found["quantity"] == "action_part")]
    assert len(rows) == len(PATHS) * 2 * 2
    assert rows[["estimate", "ci_low", "ci_high"]].notna().all(axis=None)


def test_a_path_that_the_model_lacks_is_refused_before_any_work(
    nash_engine, nash_pairs, monkeypatch
):
    monkeypatch.setattr("nashlens.circuits.patching.patch_scores", None)
    with pytest.raises(DataError, match="this model has heads 0 to"):
        patched(nash_engine, nash_pairs, paths=["1.999/3.mlp/options"])
    with pytest.raises(DataError, match="no such site"):
        patched(nash_engine, nash_pairs, paths=["1.mlp/999.mlp/options"])
