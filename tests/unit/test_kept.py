import pandas as pd
import pytest

from nashlens.activations.plan import draw_matches, used_prompts
from nashlens.estimates import Bootstrap
from nashlens.findings import CLAIMS, judge
from nashlens.interventions import choose_prompts
from nashlens.kept import at_position, kept, neutral
from nashlens.lens.effects import effect_estimates
from nashlens.lens.layers import layer_estimates
from nashlens.lens.summary import summarise_lens
from nashlens.planted.calibration import _readable
from nashlens.probes.design import add_choices, usable
from nashlens.surface import _asked
from nashlens.vocabulary.targets import CLAIM_TARGETS as TARGETS
from tests.unit.findings.tables import SETTINGS, probe_rows
from tests.unit.findings.tables import lens as make_lens
from tests.unit.findings.tables import prompts as make_prompts

PROMPTS = pd.DataFrame(
    {
        "prompt_id": ["a", "b", "c"],
        "match_id": ["m1", "m1", "m2"],
        "block_id": ["m1/1", "m1/1", "m2/1"],
        "game": "pd",
        "round": 1,
        "template": "t",
        "label_set": "jf",
        "label_map": ["identity", "swapped", "identity"],
        "option_order": "forward",
        "dropped": ["", None, "900 tokens with the label, the model takes 512"],
    }
)


@pytest.mark.parametrize(
    "choose",
    [
        kept,
        used_prompts,
        usable,
        lambda prompts: draw_matches(prompts, 10, seed=0),
        lambda prompts: choose_prompts(prompts, ["pd"], 10, 0, "test", key="games"),
    ],
)
def test_every_stage_uses_the_same_prompts(choose):
    assert sorted(choose(PROMPTS)["prompt_id"]) == ["a", "b"]


def test_controlled_estimates_leave_words_with_a_meaning_out():
    kinds = PROMPTS.assign(label_kind=["neutral", "actions", "neutral"])
    assert neutral(kinds)["prompt_id"].tolist() == ["a", "c"]
    assert neutral(PROMPTS) is PROMPTS


LENS_PROMPTS = make_prompts().assign(seat="row", label_0="J", label_1="F")
HOW = Bootstrap(confidence=0.95, resamples=50, seed=1)


@pytest.mark.parametrize(
    "read",
    [
        lambda table: add_choices(LENS_PROMPTS, table),
        lambda table: summarise_lens(table, LENS_PROMPTS, model="m", how=HOW),
        lambda table: layer_estimates(table, LENS_PROMPTS, model="m", name="logit", how=HOW),
        lambda table: effect_estimates(
            table, LENS_PROMPTS, model="m", name="logit", confidence=0.95
        ),
        lambda table: _asked(LENS_PROMPTS, table),
        lambda table: judge(
            {"lens": table, "prompts": LENS_PROMPTS},
            SETTINGS,
            [claim for claim in CLAIMS if claim.id in ("M5", "M6")],
        ),
    ],
)
def test_whoever_reads_a_lens_reads_the_decision(read):
    plain = make_lens(LENS_PROMPTS, nash=1.0).assign(kl=0.1, prior_action_1=0.5)
    other = make_lens(LENS_PROMPTS, nash=-2.0, seed=5).assign(kl=0.7, prior_action_1=0.9)
    other = other.assign(position="round_last")
    both = pd.concat([other, plain.assign(position="decision")], ignore_index=True)
    pd.testing.assert_frame_equal(read(plain), read(both))


@pytest.mark.parametrize("claim", ["M1", "M2", "M3"])
def test_whoever_reads_probes_reads_the_decision(claim):
    def verdict(probes):
        tables = {"probes": probes, "prompts": LENS_PROMPTS}
        claims = [one for one in CLAIMS if one.id == claim]
        return judge(tables, SETTINGS, claims).drop(columns=["reason", "detail"])

    plain = pd.concat([probe_rows(name, [0.5, *[0.9] * 5]) for name in TARGETS])
    other = pd.concat([probe_rows(name, [0.5, *[0.6] * 5]) for name in TARGETS])
    both = pd.concat([other.assign(position="round_last"), plain.assign(position="decision")])
    pd.testing.assert_frame_equal(verdict(plain), verdict(both))
    assert _readable(plain, "opponent_last") == _readable(both, "opponent_last")


def test_rows_about_one_position():
    table = pd.DataFrame({"position": ["decision", "round_last", "decision"]})
    assert at_position(table).index.tolist() == [0, 2]
    assert at_position(table, "round_last").index.tolist() == [1]
    old = table.drop(columns="position")
    assert at_position(old) is old
    assert at_position(old, "round_last").empty
