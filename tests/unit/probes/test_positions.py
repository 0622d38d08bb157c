"""The planted history is read where it is written before it is read at the decision."""

import json

import numpy as np
import pytest

from nashlens.activations.store import ActivationStore
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.findings import CLAIMS, judge
from nashlens.lens.positions import lens_at_positions
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import load_readout
from nashlens.planted import build
from nashlens.planted.plants import COMPUTED, PLANTS
from nashlens.planted.reading import READ
from nashlens.probes.design import ProbeSettings, add_choices
from nashlens.probes.study import study_probes
from nashlens.prompts.extra import extra_sequences
from nashlens.tables import write_table
from nashlens.vocabulary.positions import position_column
from tests.designs import make_prompts
from tests.stores import store_activations
from tests.unit.findings.tables import SETTINGS

POSITIONS = ["decision", "option_first", "round_last", "round_last-1", "round_last-2"]
LAYERS = [0, 1, READ, COMPUTED]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The planted model's prompts, store, lens and probes at some positions."""
    folder = tmp_path_factory.mktemp("history")
    build("history", folder / "model")
    prompts = make_prompts(
        ["prisoners_dilemma", "harmony"],
        ChatTokenizer(folder / "model"),
        label_sets={"jf": ["J", "F"], "bg": ["B", "G"]},
        rounds=[3, 4],
        histories=12,
        positions=POSITIONS,
    )
    write_table(prompts, folder / "prompts.parquet", config={}, fingerprint="f")
    tokens = TokenIds(folder / "prompts.parquet", POSITIONS)
    extra = extra_sequences([prompts], tokens)
    engine = Engine(load_model(folder / "model", device="cpu"))
    planned = {"shard_prompts": 64, "extra": extra, "positions": POSITIONS}
    store_activations(engine, folder, prompts, tokens, **planned)
    store = ActivationStore(folder)
    lens = lens_at_positions(
        store, prompts, POSITIONS[:3], readout=load_readout(folder / "model"), model="m"
    )
    settings = ProbeSettings(
        C=[0.003, 0.03], folds=3, permutations=20, confidence=0.95, resamples=100, seed=1, model="m"
    )
    tables = study_probes(store, prompts, lens, LAYERS, ["opponent_last"], settings,
                          part_targets=["opponent_last"], positions=POSITIONS)  # fmt: skip
    return prompts, store, lens, tables


def accuracy(probes, position):
    rows = probes[(probes["position"] == position) & (probes["split"] == "match")]
    return rows.set_index("layer")["balanced_accuracy"]


def test_history_is_readable_at_its_round_before_it_is_at_the_decision(study):
    probes = study[3]["probes"]
    assert PLANTS["history"].facts.history_from == COMPUTED
    decision, there = accuracy(probes, "decision"), accuracy(probes, "round_last")
    assert there[READ] > 0.95
    assert decision[READ] < 0.75
    assert decision[COMPUTED] > 0.85
    # The round before the last knows nothing of the last.
    assert accuracy(probes, "round_last-1").max() < 0.75


def test_the_findings_say_so_and_judge_the_decision(study):
    prompts, _, _, tables = study
    claims = [claim for claim in CLAIMS if claim.id in ("M1", "M2")]
    judged = {"probes": tables["probes"], "prompts": prompts}
    found = judge(judged, SETTINGS, claims).set_index("claim")
    probes = tables["probes"]
    assert found.loc["M1", "estimate"] == accuracy(probes, "decision")[1]
    for claim in ("M1", "M2"):
        assert json.loads(found.loc[claim, "detail"])["best_position"] == "round_last"
        assert (
            "of the other positions round_last is best: it is decodable from layer"
            in (found.loc[claim, "reason"])
        )


def test_each_position_takes_the_prompts_that_have_it(study):
    prompts, _, _, tables = study
    for name in ("probes", "probes_parts", "transfer"):
        assert list(tables[name]["position"].unique()) == POSITIONS
    n = tables["probes"].groupby("position")["n"].max()
    for position in POSITIONS:
        assert n[position] == prompts[position_column(position)].notna().sum()
    assert n["round_last-2"] == n["decision"] / 2


def test_the_decision_is_the_same_whatever_else_is_probed(study):
    prompts, store, lens, tables = study
    settings = ProbeSettings(
        C=[0.003, 0.03], folds=3, permutations=20, confidence=0.95, resamples=100, seed=1, model="m"
    )
    alone = study_probes(store, prompts, lens, LAYERS[:2], ["opponent_last"], settings,
                         part_targets=["opponent_last"])  # fmt: skip
    for split in ("match", "label_set"):
        one, other = (
            t[(t["position"] == "decision") & (t["split"] == split) & (t["layer"] == 1)]
            for t in (alone["probes"], tables["probes"])
        )
        assert one["balanced_accuracy"].tolist() == other["balanced_accuracy"].tolist()


def test_the_lens_reads_each_position_by_itself(study):
    prompts, store, lens, _ = study
    assert list(lens["position"].unique()) == POSITIONS[:3]
    by_position = lens.set_index(["position", "layer", "prompt_id"])["p_action_1"]
    one, other = (by_position.loc[name].to_numpy() for name in ("decision", "round_last"))
    assert one.shape == other.shape
    assert np.abs(one - other).max() > 0.01
    # A prior is about the decision.
    priors = lens.groupby("position")["prior_action_1"].apply(lambda x: x.notna().all())
    assert priors.to_dict() == {"decision": True, "option_first": False, "round_last": False}
    # Choices are read at the decision, whatever else the lens table holds.
    mixed, plain = (
        add_choices(prompts, lens),
        add_choices(prompts, lens[lens["position"] == "decision"]),
    )
    assert mixed["chosen_action"].equals(plain["chosen_action"])
    assert store.position == "decision"
