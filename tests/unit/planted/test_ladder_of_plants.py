"""The ladder on whole models of known mechanism: what each protocol sees in them."""

import numpy as np
import pytest

from nashlens.findings import JudgeSettings
from nashlens.findings.claim import ALL_MODELS
from nashlens.findings.ladder import climb
from nashlens.findings.protocols import CONTROLLED, PROTOCOLS, PUBLISHED
from nashlens.lens.logit import lens_table
from nashlens.models.weights import FinalNorm, Readout
from nashlens.planted import build
from nashlens.planted.circuit import N_LAYERS
from tests.unit.planted.test_plants import Model, make_prompts

SETTINGS = JudgeSettings(ALL_MODELS, 0.95, 200, 3, late_fraction=0.25, min_label_mass=0.01)


def lens_of(name, folder):
    """Return a planted model's prompts of the Prisoner's Dilemma, and its lens."""
    build(name, folder)
    model = Model(folder)
    prompts = make_prompts(
        model.tokenizer,
        label_sets={"jf": ["J", "F"], "words": "actions"},
        crossed=["label_sets"],
        histories=4,
    )
    prompts = prompts[prompts["game"] == "prisoners_dilemma"].reset_index(drop=True)
    residuals = model.run(prompts["token_ids"].to_list())
    place = {name: k for k, name in enumerate(prompts["prompt_id"])}
    norm = model.model.model.norm
    table = lens_table(
        lambda layer, ids: residuals[[place[i] for i in ids], layer].astype(np.float32),
        range(N_LAYERS + 1),
        prompts.drop(columns=["prior_id", "prior_token_ids"]),
        readout=Readout(
            FinalNorm(norm.weight.detach().numpy(), model.model.config.rms_norm_eps),
            model.model.lm_head.weight.detach().numpy(),
        ),
        model=name,
        last=N_LAYERS,
    )
    return {"prompts": prompts, "lens": table}


def climb_model(name, folder):
    """Return what each rung concludes of M6, from a model's residuals at its decisions."""
    protocols = {"M6": PROTOCOLS["M6"]}
    found = climb(lens_of(name, folder), SETTINGS.about(name), protocols=protocols)
    return found.set_index("name")


def test_every_rung_supports_an_override_that_is_there(tmp_path):
    found = climb_model("override", tmp_path)
    assert found["concludes"].to_dict() == dict.fromkeys(PROTOCOLS["M6"], "supported")


@pytest.mark.parametrize("name", ["token_override", "label_bias"])
def test_the_published_protocol_takes_a_preference_for_a_word_for_an_override(name, tmp_path):
    found = climb_model(name, tmp_path)
    for rung in (PUBLISHED, "+ first token", "+ order"):
        assert found.loc[rung, "concludes"] == "supported", rung
    for rung in ("+ label map", "+ neutral labels", CONTROLLED):
        assert found.loc[rung, "concludes"] == "contradicted", rung
    assert "follows the" in found.loc[CONTROLLED, "because"]
    assert found.loc[PUBLISHED, "estimate"] > 0.75
