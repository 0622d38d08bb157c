"""What the heads table and M4 say of models whose heads and MLPs are known."""

import json

import pytest

from nashlens.findings import CLAIMS, judge
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from tests.designs import make_prompts
from tests.unit.findings.tables import SETTINGS

from .test_heads import GAMES, study


def planted(name, folder, other=("B", "G")):
    convert_source(f"planted:{name}", folder)
    table = make_prompts(
        GAMES,
        ChatTokenizer(folder),
        label_sets={"jf": ["J", "F"], "other": list(other)},
        system="You are playing a game with another player.",
    )
    settings = {"dtype": "float32", "quantization": "none", "device": "cpu"}
    heads = study(
        load_model(folder, **settings), table, group=2, random_groups=10, prompts_per_game=32
    )
    claims = [claim for claim in CLAIMS if claim.id == "M4"]
    return heads, judge({"heads": heads}, SETTINGS, claims).iloc[0]


def candidates(heads):
    """Return each arm's candidate group."""
    chosen = heads[heads["kind"] == "candidate"].drop_duplicates(["component", "positions"])
    return {
        (row["component"], row["positions"]): set(row["heads"].split())
        for row in chosen.to_dict("records")
    }


def test_heads_that_answer_the_nash_action_are_found(tmp_path):
    """The head that moves the Nash action to the decision, in block 5, and the last to answer."""
    heads, verdict = planted("nash", tmp_path / "nash")
    assert candidates(heads)["head", "decision"] == {"5.0", "12.0"}
    assert verdict["verdict"] == "contradicted"
    # Without what that head brings, nothing is left of the answer.
    arm = json.loads(verdict["detail"])["arms"][0]
    assert arm["preference"] > 1.5
    assert arm["drop"] == pytest.approx(arm["preference"], rel=0.15)


def test_of_a_redundant_pair_the_group_shows_what_no_single_head_does(tmp_path):
    # Labels whose codes have nothing in common: a mean over them passes for none of them.
    heads, verdict = planted("nash_redundant", tmp_path / "nash_redundant", other=("X", "Y"))
    assert candidates(heads)["head", "decision"] == {"5.0", "5.1"}
    arm = json.loads(verdict["detail"])["arms"][0]
    assert verdict["verdict"] == "contradicted"
    assert arm["drop"] == pytest.approx(arm["preference"], rel=0.15)
    singles = heads[(heads["positions"] == "decision") & heads["ablation"].isin(["5.0", "5.1"])]
    assert singles.groupby("ablation")["drop"].mean().abs().max() < 0.15 * arm["drop"]


def test_an_mlp_that_answers_is_found_and_no_other(tmp_path):
    heads, verdict = planted("override_mlp", tmp_path / "override_mlp")
    found = candidates(heads)
    assert found["mlp", "decision"] == {"10.mlp"}
    assert "10.mlp" in found["both", "all"]
    assert verdict["verdict"] == "contradicted"
    (arm,) = (a for a in json.loads(verdict["detail"])["arms"] if a["component"] == "mlp")
    assert arm["drop"] > 1.0 > 0.01 > arm["random_largest"]


def test_a_head_at_earlier_tokens_is_found_at_all_positions_only(tmp_path):
    """It looks a label up at the question mark, and a later one carries that to the decision."""
    heads, verdict = planted("override_early", tmp_path / "override_early")
    found = candidates(heads)
    assert "10.0" in found["head", "decision"] & found["both", "all"]
    assert "8.1" in found["both", "all"] - found["head", "decision"]
    assert verdict["verdict"] == "contradicted"
    arms = {arm["component"]: arm for arm in json.loads(verdict["detail"])["arms"]}
    assert abs(arms["mlp"]["drop"]) < 0.01
    assert arms["both"]["drop"] > 2.0
    single = heads[(heads["kind"] == "head") & (heads["ablation"] == "8.1")]
    drops = single.groupby("positions")["drop"].mean()
    assert abs(drops["decision"]) < 0.01
    assert drops["all"] > 1.0


def test_what_nothing_reads_is_not_found_by_any_arm(tmp_path):
    _, verdict = planted("inert", tmp_path / "inert")
    assert verdict["verdict"] == "inconclusive"
    assert "no preference for the Nash action" in verdict["reason"]
    arms = json.loads(verdict["detail"])["arms"]
    assert len(arms) == 3
    assert max(abs(arm["drop"]) for arm in arms) < 0.05
