"""Names that several rooms know are the same ones in each."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest

from nashlens import strategies
from nashlens.circuits.patches import MAIN_PART
from nashlens.config.playing import AgentConfig, MatchesConfig, PromptsConfig
from nashlens.config.sections import Config, GameConfig, ProbesConfig
from nashlens.engine.patching import KINDS
from nashlens.figures import registry
from nashlens.games import CATALOG
from nashlens.prompts.pairs import CHANGES
from nashlens.prompts.targets import TARGETS
from nashlens.prompts.templates import TEMPLATES
from nashlens.vocabulary import edits, figures, pairs, patching, play, prompts, stages, targets

FOLDER = Path(play.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_the_vocabulary_imports_nothing_of_ours(path: Path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    assert set(names) <= {"__future__", "collections.abc", "typing"}


def test_games_are_those_of_the_catalogue():
    assert tuple(CATALOG) == play.CANONICAL_GAMES


def test_strategies_are_those_that_can_be_played():
    assert tuple(strategies.STRATEGIES) == play.STRATEGIES
    assert tuple(strategies.PARAMETERS) == play.STRATEGIES_WITH_P


def test_templates_are_those_that_are_written():
    assert tuple(TEMPLATES) == prompts.TEMPLATES


def test_targets_are_those_that_are_computed():
    computed = [name for name in TARGETS if name not in targets.GAINS]
    assert (*computed, "opponent_next", *targets.GAINS) == tuple(targets.PROMPT_TARGETS)


def test_figures_are_those_that_can_be_drawn():
    assert tuple(registry.FIGURES) == figures.FIGURES


def test_modes_and_pairings_are_those_that_figures_name():
    reasoning = pytest.importorskip("nashlens.figures.reasoning")
    cells = pytest.importorskip("nashlens.figures.cells")
    assert tuple(reasoning.MODES) == play.MODES
    assert tuple(cells.OPPONENTS) == play.PAIRINGS


def test_kinds_of_edits_are_those_of_a_sweep():
    engine = pytest.importorskip("nashlens.engine.edits")
    reference = pytest.importorskip("tests.reference")
    assert tuple(engine.KINDS) == edits.EDIT_KINDS
    assert tuple(reference.EDITS) == edits.EDIT_KINDS


def test_the_config_takes_every_name_by_default():
    assert tuple(ProbesConfig().targets) == targets.TARGETS
    assert tuple(MatchesConfig().templates) == prompts.TEMPLATES
    assert tuple(MatchesConfig().move_orders) == prompts.MOVE_ORDERS
    assert tuple(PromptsConfig().label_maps) == prompts.LABEL_MAPS
    assert tuple(PromptsConfig().option_orders) == prompts.OPTION_ORDERS
    assert all(GameConfig(canonical=name) for name in play.CANONICAL_GAMES)
    assert all(AgentConfig(strategy=name) for name in play.STRATEGIES)
    assert all(AgentConfig(model="m", mode=mode) for mode in play.MODES)


def test_targets_of_claims_are_those_that_claims_name():
    findings = pytest.importorskip("nashlens.findings")
    modules = [import_module(claim.estimate.__module__) for claim in findings.CLAIMS]
    named = {module.TARGET for module in modules if hasattr(module, "TARGET")}
    named |= {name for module in modules for name in getattr(module, "TARGETS", ())}
    assert named == set(targets.CLAIM_TARGETS)


def test_pairs_and_sites_are_those_that_are_made_and_patched():
    assert set(CHANGES) == set(pairs.PAIR_KINDS)
    assert {*patching.SITES, "head"} == set(KINDS)
    assert set(MAIN_PART) == set(pairs.PAIR_KINDS)


def test_a_path_names_two_components_and_tokens():
    assert patching.path_parts("5.mlp/9.3/options") == (("mlp", 5, -1), ("head", 9, 3), "options")
    assert patching.path_parts("embedding/12.attention/round_last-1") == (
        ("residual", 0, -1), ("attention", 12, -1), "round_last-1"
    )  # fmt: skip
    for named in ("5.mlp/9.3", "embedding/1.mlp"):
        assert re.fullmatch(patching.ENDS_PATTERN, named), named
    for wrong in ("5.mlp", "mlp/9.3", "5.mlp/embedding", "0.mlp/1.mlp", "1.mlp/2.3.4"):
        assert not re.fullmatch(patching.ENDS_PATTERN, wrong), wrong


def test_stages_that_can_be_left_out_are_sections_that_may_be_null():
    for key in stages.NULLABLE:
        assert NoneType in get_args(Config.model_fields[key].annotation)
    assert stages.left_out_by("patching") == "patching"
    assert stages.left_out_by("choir") == "attribution"
    assert stages.left_out_by("steered_quiz") == stages.INTERVENTION
    assert stages.left_out_by("prompts") is None
