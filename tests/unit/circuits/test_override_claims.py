"""M9 and M10 on whole planted models: what writes an override, and over how many it is spread."""

import json
from dataclasses import replace

import pytest

from nashlens.circuits.writing import writing_tables
from nashlens.engine.core import Engine
from nashlens.findings import CLAIMS, JudgeSettings, judge
from nashlens.lens.logit import lens_table
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import WeightReader, load_readout
from tests.designs import make_pairs, residuals_at

JUDGED = [claim for claim in CLAIMS if claim.id in ("M9", "M10")]
SETTINGS = JudgeSettings("m", 0.95, 200, 3, late_fraction=1 / 3, min_label_mass=0.01)
PD = "prisoners_dilemma"


@pytest.fixture(scope="module")
def verdicts(planted):
    """Return what judges a planted model, by claim."""

    def make(name, pairs=48, late_fraction=SETTINGS.late_fraction):
        folder, _, prompts = planted(name)
        engine = Engine(load_model(folder, device="cpu", dtype="float32"))
        prompts = prompts[prompts["game"] == PD].reset_index(drop=True)
        tables = writing_tables(
            engine,
            prompts,
            make_pairs([PD], ChatTokenizer(folder), ["payoffs"]),
            WeightReader(folder),
            games=[PD],
            prompts=64,
            pairs=pairs,
            random_groups=4,
            orders=2,
            late_fraction=late_fraction,
            seed=1,
            model="m",
        )
        residuals = residuals_at(engine, prompts)
        place = {one: k for k, one in enumerate(prompts["prompt_id"])}
        tables["prompts"] = prompts
        tables["lens"] = lens_table(
            lambda layer, some: residuals[[place[one] for one in some], layer],
            range(engine.n_layers + 1),
            prompts.drop(columns=["prior_id", "prior_token_ids"]),
            readout=load_readout(folder),
            model="m",
            last=engine.n_layers,
        )
        settings = replace(SETTINGS, late_fraction=late_fraction)
        return judge(tables, settings, JUDGED).set_index("claim")

    return make


@pytest.mark.parametrize("name", ["override_soloist", "override_mlp", "override_redundant"])
def test_one_or_two_components_cause_it(verdicts, name):
    found = verdicts(name)
    assert found.loc["M9", "verdict"] == "supported", found.loc["M9", "reason"]
    assert "judged by necessity alone" in found.loc["M9", "reason"]
    assert found.loc["M10", "verdict"] == "contradicted", found.loc["M10", "reason"]


def test_a_choir_causes_it(verdicts):
    found = verdicts("override_choir")
    assert found.loc["M9", "verdict"] == "supported", found.loc["M9", "reason"]
    assert found.loc["M10", "verdict"] == "supported", found.loc["M10", "reason"]
    detail = json.loads(found.loc["M10", "detail"])
    assert detail["components"] == 8
    assert detail["half"] == pytest.approx(4, abs=1)
    assert found.loc["M10", "estimate"] == pytest.approx(2 / 8, abs=0.1)


def test_what_writes_in_conflict_only_is_sufficient_too(verdicts):
    found = verdicts("override_in_conflict")
    assert found.loc["M9", "verdict"] == "supported", found.loc["M9", "reason"]
    assert "needed, and they suffice" in found.loc["M9", "reason"]
    restored = json.loads(found.loc["M9", "detail"])["restore"]
    assert restored["low"] > 1.0


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("override_before_late", "without them no more Nash play returns than by chance"),
        ("override_stand_in", "without them no more Nash play returns than by chance"),
        ("override_permitted", "they are needed, and do not suffice"),
    ],
)
def test_an_override_that_late_components_do_not_cause_by_themselves(verdicts, name, because):
    """The lens shows it, as M6 asks: it is written before, has a stand-in, or needs permission."""
    found = verdicts(name, late_fraction=0.25).loc["M9"]
    assert found["verdict"] == "contradicted", found["reason"]
    assert because in found["reason"]
    # What is put into the other prompt by itself turns it, where the head has a stand-in.
    restored = json.loads(found["detail"])["restore"]
    assert (restored["low"] > 1.0) == (name == "override_stand_in")


@pytest.mark.parametrize("name", ["word_choir", "word_soloist", "word_in_conflict", "nash"])
def test_without_an_override_there_is_no_cause(verdicts, name):
    found = verdicts(name, pairs=0)
    assert set(found["verdict"]) == {"not_applicable"}, found["reason"].to_list()
    assert found["reason"].str.contains("the lens shows no late override").all()
