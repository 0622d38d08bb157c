"""M11 on whole planted models: where the Nash label is computed, and where none is."""

import json

import pytest

from nashlens.circuits.patches import Patches
from nashlens.engine.core import Engine
from nashlens.findings import CLAIMS, judge
from nashlens.games import CATALOG
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.planted import build
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, planned_decisions
from tests.designs import DESIGN
from tests.unit.findings.tables import SETTINGS

from .nash_pairs import patched


@pytest.mark.parametrize(
    ("name", "verdict", "place"),
    [
        ("nash_at_payoffs", "supported", (3, "payoff_4")),
        ("nash_at_decision", "contradicted", None),
        ("word_at_payoffs", "inconclusive", None),
    ],
)
def test_where_the_nash_label_is_computed_is_told(tmp_path, name, verdict, place):
    """At the last own payoff; at the decision alone; or a word at that payoff, and no action."""
    build(name, tmp_path)
    games, kinds = ["deadlock", "concord"], ["payoffs", "order"]
    decisions = planned_decisions([CATALOG[game] for game in games], **DESIGN)
    asked = Asked(ChatTokenizer(tmp_path), None, "I choose option")
    table = patched(
        Engine(load_model(tmp_path, device="cpu", dtype="float32")),
        build_pairs(decisions, asked, kinds=kinds, games=games),
        games=games,
        kinds=kinds,
        pairs_per_game=16,
        layers=[3, 5, 6, 7],
        groups=["payoffs", "payoff_4", "options", "question", "decision"],
    )
    claims = [claim for claim in CLAIMS if claim.id == "M11"]
    found = judge({"patching": table}, SETTINGS, claims).iloc[0]
    assert found["verdict"] == verdict, found["reason"]
    if place is not None:
        detail = json.loads(found["detail"])
        assert (detail["layer"], detail["group"]) == place
    # Two prompts differ by much, whether by action or by word.
    assert table["total"].abs().mean() > 1
    action = Patches(table, "payoffs", "destroy", "nash").parts["action"][:, 0].mean()
    assert (abs(action) > 1) == (name != "word_at_payoffs")
