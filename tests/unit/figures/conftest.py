"""Synthetic tables of a plausible experiment: 8 games, one or four models, 31 layers."""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
import pandas as pd
import pytest

from nashlens.lens.summary import summarise_lens
from tests.unit.findings.tables import PLANTED_PATH, patching
from tests.unit.findings.writers import attribution, override

from .plays import plays_of
from .spikes import make_spikes_summary
from .summaries import with_summaries
from .verdicts import make_findings, make_ladder, make_sensitivity

# name: row's payoffs 00 01 10 11 (column's by symmetry unless given), equilibria, mixed
GAMES = {
    "prisoners_dilemma": ((3, 0, 5, 1), None, "1,1", None),
    "stag_hunt": ((4, 0, 3, 2), None, "0,0;1,1", (2 / 3, 2 / 3)),
    "chicken": ((3, 1, 4, 0), None, "0,1;1,0", (0.5, 0.5)),
    "battle_of_the_sexes": ((3, 0, 0, 2), (2, 0, 0, 3), "0,0;1,1", (0.6, 0.4)),
    "matching_pennies": ((1, -1, -1, 1), (-1, 1, 1, -1), "", (0.5, 0.5)),
    "harmony": ((4, 2, 3, 1), None, "0,0", None),
    "deadlock": ((1, 0, 3, 2), None, "1,1", None),
    "concord": ((4, 3, 2, 1), None, "0,0", None),
}
NASH = {"prisoners_dilemma": 1, "harmony": 0, "deadlock": 1, "concord": 0}
PROSOCIAL = {"prisoners_dilemma": 0, "harmony": 0, "deadlock": 1, "concord": 0, "stag_hunt": 0}
MODELS = ["smol-135m", "llama-3-8b-instruct", "qwen2.5-32b-instruct", "llama-3-70b-instruct"]
LABELS = {"jf": ("J", "F"), "xy": ("X", "Y"), "pq": ("P", "Q")}
LAYERS = range(31)
TARGETS = (
    *("own_last", "opponent_last", "nash_action", "nash_label", "nash_place", "prosocial_action"),
    "best_response",
)
SURFACES = list(
    product(("neutral", "named"), LABELS, ("identity", "swapped"), ("forward", "reversed"))
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


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


def make_prompts(models) -> pd.DataFrame:
    """Two histories for each game, template and label set, each in a whole block."""
    rows = []
    for game, form, history in product(GAMES, SURFACES, range(2)):
        template, label_set, label_map, order = form
        one, two = LABELS[label_set][:: 1 if label_map == "identity" else -1]
        match = f"{game}/{template}-{label_set}-{history}"
        name = f"{match}/{label_map}/{order}"
        rows.append(
            {
                "prompt_id": hashlib.sha256(name.encode()).hexdigest()[:32],
                "match_id": match,
                "scenario_id": f"{match}/5",
                "block_id": f"{match}/5/{template}/{label_set}",
                "game": game,
                "variant": 0,
                "seat": ("row", "column")[history],
                "round": 5,
                "template": template,
                "label_set": label_set,
                "label_kind": "neutral",
                "label_map": label_map,
                "option_order": order,
                "label_0": one,
                "label_1": two,
                "nash_action": NASH.get(game),
                "prosocial_action": PROSOCIAL.get(game),
            }
        )
    frame = pd.DataFrame(rows).astype({"nash_action": "Int64", "prosocial_action": "Int64"})
    return pd.concat([frame.assign(model=model) for model in models], ignore_index=True)


def make_lens(prompts: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frames = []
    word = np.where(prompts["label_map"] == "identity", 1.0, -1.0)
    own = prompts["nash_action"].map({0: 1.0, 1: -1.0}).fillna(0).to_numpy(float)
    conflict = (prompts["nash_action"] != prompts["prosocial_action"]).fillna(False)
    for layer in LAYERS:
        late = sigmoid((layer - 25) / 1.0)
        push = np.where(conflict, 1 - 3.2 * late, 1) * own * min(layer / 10, 1)
        z = push + 2.4 * word * (1 - layer / 40) + rng.normal(0, 0.3, len(prompts))
        p = sigmoid(z)
        frames.append(
            prompts[["model", "prompt_id", "match_id"]].assign(
                layer=layer,
                logit_0=z / 2,
                logit_1=-z / 2,
                p_action_0=p,
                p_action_1=1 - p,
                label_mass=10.0 ** (-5 + 4.8 * layer / 30 + rng.normal(0, 0.3, len(prompts))),
                kl=np.maximum(0, (30 - layer) * (0.5 + 0.05 * rng.normal(size=len(prompts)))),
                prior_action_1=sigmoid(-0.8 * word),
            )
        )
    return pd.concat(frames, ignore_index=True)


def make_tuned_lens(models) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    parts = [
        pd.DataFrame(
            {
                "model": model,
                "layer": layer,
                "chunk": np.arange(40) // 10,
                "kl_logit": (20 - layer / 2) * rng.uniform(0.5, 1.5, 40),
                "kl_tuned": (5 - layer / 7) * rng.uniform(0.5, 1.5, 40),
            }
        )
        for model, layer in product(models, range(30))
    ]
    return pd.concat(parts, ignore_index=True)


def make_lens_summary(prompts, lens) -> pd.DataFrame:
    known = prompts.assign(dropped="")
    parts = [
        summarise_lens(
            lens[lens["model"] == model],
            known[known["model"] == model],
            model=model,
            confidence=0.95,
            resamples=100,
            seed=1,
        )
        for model in dict.fromkeys(prompts["model"])
    ]
    return pd.concat(parts, ignore_index=True)


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
        ("components", 8, 8, "hit"),
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
    frame.loc[frame["fact"] == "components", ["precision", "recall"]] = 7 / 8
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


def make_probes(models) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = []
    targets = (*TARGETS, "opponent_cooperation")
    for model, target, split, layer in product(models, targets, ("match", "game"), LAYERS):
        height = {"own_last": 0.95, "opponent_last": 0.96, "nash_action": 0.56}.get(target, 0.75)
        value = 0.5 + (height - 0.5) * np.exp(-((layer - 6) ** 2) / 500) + rng.normal(0, 0.01)
        ok = not (target == "best_response" and model == models[-1])
        regression = target == "opponent_cooperation"
        score, low, high = (
            ("r2", "r2_low", "r2_high")
            if regression
            else ("balanced_accuracy", "ci_low", "ci_high")
        )
        chance = 0.0 if regression else 0.5
        numbers = {
            score: value - 0.5 + chance,
            low: value - 0.55 + chance,
            high: value - 0.45 + chance,
            "permutation_mean": chance,
            "permutation_high": chance + 0.05,
            "permutation_max_high": chance + 0.08,
            "p_value": 0.05,
            "embedding": chance,
            "embedding_low": chance - 0.04,
            "embedding_high": chance + 0.04,
            "bag_of_words": chance + 0.15,
            "bag_of_words_low": chance + 0.1,
            "bag_of_words_high": chance + 0.2,
            "random_weights": chance + 0.1 + rng.normal(0, 0.01),
            "random_weights_low": chance + 0.05,
            "random_weights_high": chance + 0.15,
            "n_random_weights": 192,
        }
        rows.append(
            {
                "model": model,
                "target": target,
                "split": split,
                "layer": layer,
                "measure": "r2" if regression else "balanced_accuracy",
                "status": "ok" if ok else "degenerate",
                "reason": "" if ok else "constant: action 0 at every prompt",
                "n": 384,
                "n_matches": 192,
                **(numbers if ok else {}),
                "confidence": 0.95,
            }
        )
    return pd.DataFrame(rows)


def make_transfer(models) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = []
    for model, target, layer, train, test in product(models, TARGETS, (0, 6, 30), GAMES, GAMES):
        height = 0.95 if train == test else 0.3 + 0.6 * rng.random()
        ok = target != "nash_action" and "matching_pennies" not in (train, test)
        rows.append(
            {
                "model": model,
                "target": target,
                "layer": layer,
                "train": train,
                "test": test,
                "status": "ok" if ok else "degenerate",
                "reason": "" if ok else f"constant in {train}: action 1 at every prompt",
                "n": 48,
                "n_matches": 24,
                "balanced_accuracy": height if ok else np.nan,
                "ci_low": height - 0.1 if ok else np.nan,
                "ci_high": height + 0.1 if ok else np.nan,
                "confidence": 0.95,
            }
        )
    return pd.DataFrame(rows)


def make_steering(models, layers=(1, 4, 8, 12, 16, 20, 24, 28), randoms=20) -> pd.DataFrame:
    """The abstract direction moves the action early on, the label direction its own words late."""
    rng = np.random.default_rng(4)
    doses = {"add": (-1, -0.5, 0, 0.5, 1), "clamp": (-4, -2, 0, 2, 4)}
    prompts = pd.DataFrame(
        product(
            ("deadlock", "concord"),
            ("jf", "xy"),
            range(3),
            ("identity", "swapped"),
            ("forward", "reversed"),
        ),
        columns=["game", "label_set", "history", "label_map", "option_order"],
    )
    block = prompts["game"] + prompts["label_set"] + prompts.pop("history").astype(str)
    prompts = prompts.assign(
        prompt_id=[f"p{i}" for i in range(len(prompts))],
        match_id=block,
        block_id=block + "/2",
        template="neutral",
        seen_label_set=prompts["label_set"] == "jf",
    )
    first = np.where(prompts["label_map"] == "swapped", 1.0, -1.0)
    seen = prompts["seen_label_set"].to_numpy()
    base = rng.normal(0, 0.5, block.nunique())[pd.factorize(block)[0]]
    base = base + np.where(prompts["game"] == "deadlock", 1.0, -1.0)
    parts = []
    places = [*map(str, layers), "1+2+3"]
    for model, place, (kind, values) in product(models, places, doses.items()):
        layer, unit = int(place.split("+")[0]), 3 if kind == "add" else 0.5
        early, late = np.exp(-layer / 15), np.exp((layer - 28) / 10)
        slopes = {
            "abstract": unit * early + 0.2 * unit * late * first,
            "label": unit * late * first * np.where(seen, 1.5, 0.2),
            "published": 0.1 * unit * early + 0.3 * unit * early * first,
        }
        for k in range(randoms):
            slopes[f"random_{k:03d}"] = unit * (rng.normal(0, 0.1) + rng.normal(0, 0.1) * first)
        for direction, slope in slopes.items():
            chosen = (values[0], 0, values[-1]) if direction.startswith("random") else values
            for value in chosen:
                p = sigmoid(base + slope * value)
                about = {"model": model, "layer": layer, "layers": place, "kind": kind}
                rows = prompts.assign(**about, direction=direction, value=float(value))
                parts.append(rows.assign(p_action_0=1 - p, p_action_1=p))
    return pd.concat(parts, ignore_index=True).assign(units="norms", positions="last")


def make_heads(models, n_layers=12, n_heads=8, randoms=20) -> pd.DataFrame:
    """One head answers the Nash action, another its label; the first is among the chosen."""
    # The MLPs' noise is drawn apart, so that the heads' does not depend on it.
    noise = {kind: np.random.default_rng(seed) for kind, seed in (("head", 8), ("mlp", 9))}
    places = list(product(range(1, n_layers + 1), range(n_heads)))
    chosen = [(n_layers, 1), (1, 0), (2, 2)]
    names = [("head", f"{layer}.{head}", layer, head) for layer, head in places]
    names += [("mlp", f"{layer}.mlp", layer, pd.NA) for layer in range(1, n_layers + 1)]
    groups = [("candidate", "candidate", pd.NA, pd.NA)]
    groups += [("random", f"random_{i:03d}", pd.NA, pd.NA) for i in range(randoms)]
    rows = []
    for model, (i, (game, nash)), label_map, order in product(
        models,
        enumerate([("deadlock", 1), ("pd", 0)] * 8),
        ("identity", "swapped"),
        ("forward", "reversed"),
    ):
        phase = ("choose", "test")[i // 2 % 2]
        side = 0.8 if (label_map == "swapped") == (nash == 1) else -0.8
        for kind, name, layer, head in names if phase == "choose" else groups:
            effect = {"candidate": 1.1, f"{n_layers}.1": 1.0, f"{n_layers}.2": side}.get(name, 0.0)
            rows.append(
                {
                    "model": model,
                    "ablation": name,
                    "kind": kind,
                    "layer": layer,
                    "head": head,
                    "component": "mlp" if kind == "mlp" else "head",
                    "positions": "decision",
                    "method": "exact",
                    "heads": name if phase == "choose" else " ".join(f"{a}.{b}" for a, b in chosen),
                    "prompt_id": f"p{i}{label_map}{order}",
                    "match_id": f"m{i}",
                    "block_id": f"m{i}/3",
                    "game": game,
                    "nash_action": nash,
                    "template": "neutral",
                    "label_set": ("jf", "xy")[i // 8],
                    "label_map": label_map,
                    "option_order": order,
                    "phase": phase,
                    "logit_nash": 1.0 - effect,
                    "drop": effect + noise.get(kind, noise["head"]).normal(0, 0.05),
                }
            )
    table = pd.DataFrame(rows)
    few = table["match_id"].isin([f"m{i}" for i in range(8)])
    group = table["kind"].isin(["candidate", "random"])
    mlps = table[group].assign(component="mlp", heads="3.mlp 4.mlp")
    mlps["drop"] = np.where(mlps["kind"] == "candidate", 0.05, mlps["drop"])
    everywhere = table[few].assign(positions="all")
    everywhere["component"] = np.where(group[few], "both", everywhere["component"])
    everywhere["method"] = np.where(group[few], "exact", "gradient")
    return pd.concat([table, mlps, everywhere], ignore_index=True)


def make_steered(models) -> pd.DataFrame:
    """A dose moves a player and its partner; a random direction moves neither."""
    rows = []
    doses = (-0.5, -0.25, 0.0, 0.25, 0.5)
    for model, direction, dose in product(models, ("abstract", "random"), doses):
        push = dose if direction == "abstract" else 0.0
        values = {
            "cooperation": (sigmoid(-6 * push), 0.1),
            "nash_tv": (0.8 * sigmoid(-6 * push), 0.1),
            "partner_cooperation": (sigmoid(-3 * push), 0.15),
            "quiz_accuracy": (0.75 - 0.6 * dose**2, 0.08),
            "kl": (1.2 * dose**2, 0.1),
            "perplexity": (np.exp(dose**2), 0.1),
        }
        for quantity, (value, half) in values.items():
            half = half if quantity != "kl" else 0.2 * value
            rows.append(
                {
                    "player": f"steered_{model}" if direction == "abstract" else f"random_{model}",
                    "model": model,
                    "direction": direction,
                    "edit": "add",
                    "layers": "15",
                    "partner": model if quantity == "partner_cooperation" else None,
                    "quantity": quantity,
                    "dose": dose,
                    "estimate": value,
                    "ci_low": value - half,
                    "ci_high": value + half,
                    "interval": "student",
                    "n": 96,
                    "n_matches": 16,
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
