"""Synthetic tables of a plausible experiment: 8 games, one or four models, 31 layers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from tests.unit.findings.tables import PLANTED_PATH, patching
from tests.unit.findings.writers import attribution, override

from .inside import (
    GAMES,
    LABELS,
    MODELS,
    NASH,
    SURFACES,
    make_lens,
    make_lens_summary,
    make_probes,
    make_prompts,
    make_transfer,
    make_tuned_lens,
    sigmoid,
)
from .plays import plays_of
from .pushed import make_heads, make_steered, make_steering
from .spikes import make_spikes_summary
from .summaries import with_summaries
from .verdicts import make_findings, make_ladder, make_sensitivity


def make_games() -> pd.DataFrame:
    rows = []
    for (name, (row, column, pure, mixed)), variant in product(GAMES.items(), range(3)):
        column = column or (row[0], row[2], row[1], row[3])
        rows.append(
            {
                "game": name,
                "variant": variant,
                "base": name,
                "title": name.replace("_", " ").title(),
                "action_0": "cooperate",
                "action_1": "defect",
                **{
                    f"row_{c}": float(v) for c, v in zip(("00", "01", "10", "11"), row, strict=True)
                },
                **{
                    f"col_{c}": float(v)
                    for c, v in zip(("00", "01", "10", "11"), column, strict=True)
                },
                "pure_equilibria": pure,
                "mixed_row": mixed[0] if mixed else np.nan,
                "mixed_col": mixed[1] if mixed else np.nan,
                "continuum": False,
                "zero_sum": name == "matching_pennies",
            }
        )
    return pd.DataFrame(rows)


def make_calibration() -> pd.DataFrame:
    """One planted model with a shifted, a missed and a wrong finding, and eight null models."""
    missing = np.nan
    planted = [
        ("history_from", 5, 5, "hit"),
        ("history_until", 8, 9, "hit"),
        ("nash_from", missing, 7, "false_positive"),
        ("favoured_from", 6, 6, "hit"),
        ("override_at", 10, missing, "miss"),
        ("steerable_from", missing, missing, "true_negative"),
        ("components", 8, 9, "hit"),
        ("follows_action", 1, 1, "hit"),
        ("M1", 0, 1, "false_positive"),
        ("M5", missing, 1, "unknown"),
        ("M6", 1, 0, "miss"),
    ]
    rows = [("override", False, *row) for row in planted]
    for k, fact in product(range(8), ("history_from", "nash_from", "override_at", "M6")):
        wrong = k == 0 and fact == "nash_from"
        outcome = "false_positive" if wrong else "true_negative"
        rows.append((f"blind_{k}", True, fact, missing, 3 if wrong else missing, outcome))
    frame = pd.DataFrame(rows, columns=["model", "null", "fact", "planted", "found", "outcome"])
    frame["layer_error"] = (frame["found"] - frame["planted"]).abs()
    frame["layer_error"] = frame["layer_error"].where(
        frame["fact"].str.contains("_from|_until|_at$")
    )
    frame[["precision", "recall"]] = np.nan
    frame.loc[frame["fact"] == "components", ["precision", "recall"]] = 8 / 9, 1.0
    return frame.assign(basis="probes")


def make_play(models, rounds=5) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows = []
    scripts = ("ALLC", "ALLD", "TFT", "GRIM", "WSLS", "RANDOM")
    pairs = [(m, o, "self_play" if m == o else "cross_play") for m in models for o in models]
    pairs += [(m, s, "scripted") for m in models for s in scripts]
    cells = list(product(("identity", "swapped"), ("forward", "reversed")))
    for game, (one, two, pairing), repetition in product(GAMES, pairs, range(4)):
        # The four matches of a block differ in label map and option order only.
        label_map, order = cells[repetition]
        if repetition == 0:
            template, label_set, *_ = SURFACES[rng.integers(len(SURFACES))]
        skill = models.index(one) * 0.6
        lean = {0: 1.0, 1: -1.0}.get(NASH.get(game), 0.0)
        match = f"{game}|{one}|{two}|{repetition}"
        noise = rng.normal(0, 0.5)
        for turn in range(1, rounds + 1):
            for seat, agent, opponent in (("row", one, two), ("column", two, one)):
                script = agent in scripts
                drift = {"ALLD": -0.4, "ALLC": 0.2}.get(opponent, 0) * turn
                shift = 0.7 * (1 if label_map == "identity" else -1)
                p = sigmoid(0.8 + lean * skill + drift + noise + shift)
                if script:
                    p = {"ALLC": 1.0, "ALLD": 0.0}.get(agent, 0.5)
                rows.append(
                    {
                        "match_id": match,
                        "block_id": f"{game}|{one}|{two}",
                        "game": game,
                        "variant": 0,
                        "repetition": repetition,
                        "round": turn,
                        "pairing": pairing,
                        "row_agent": one,
                        "column_agent": two,
                        "seat": seat,
                        "agent": agent,
                        "opponent": opponent,
                        "model": None if script else agent,
                        "strategy": agent if script else None,
                        "mode": "direct",
                        "template": template,
                        "label_set": label_set,
                        "label_map": label_map,
                        "option_order": order,
                        "p_action_0": p,
                        "p_action_1": 1 - p,
                        "action": int(rng.random() > p),
                    }
                )
    return pd.DataFrame(rows)


def make_tables(models) -> dict[str, pd.DataFrame]:
    prompts = make_prompts(models)
    lens = make_lens(prompts)
    tables = {
        **plays_of(models),
        "games": make_games(),
        "prompts": prompts,
        "play": make_play(models),
        "probes": make_probes(models),
        "transfer": make_transfer(models),
        "lens": lens,
        "lens_tuned": lens.assign(kl=lens["kl"] / 3),
        "tuned_lens": make_tuned_lens(models),
        "lens_summary": make_lens_summary(prompts, lens),
        "calibration": make_calibration(),
        "steering": make_steering(models),
        "steered_summary": make_steered(models),
        "heads": make_heads(models),
        "patching": pd.concat(patching(PLANTED_PATH, model=model) for model in models),
        "attribution": pd.concat(attribution(model=model) for model in models),
        "override": pd.concat(override(model=model) for model in models),
        "spikes_summary": make_spikes_summary(models),
        "ladder": make_ladder(models),
        "findings": make_findings(models),
        "sensitivity": make_sensitivity(make_findings(models), LABELS),
    }
    return with_summaries(tables)


@pytest.fixture(scope="session")
def one_model():
    return make_tables(MODELS[:1])


@pytest.fixture(scope="session")
def two_models():
    return make_tables(MODELS[:2])


@pytest.fixture(scope="session")
def four_models():
    return make_tables(MODELS)
