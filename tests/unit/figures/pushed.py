"""Planted tables of interventions: directions, heads, and a steered player."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from .inside import sigmoid


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
    pushes, chances = [], []
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
                pushes.append((model, layer, place, kind, direction, float(value)))
                chances.append(sigmoid(base + slope * value))
    about = pd.DataFrame(pushes, columns=["model", "layer", "layers", "kind", "direction", "value"])
    p = np.concatenate(chances)
    return about.merge(prompts, how="cross").assign(
        p_action_0=1 - p, p_action_1=p, units="norms", positions="last"
    )


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
        if dose == doses[-1]:
            values["cooperation_change"] = (sigmoid(-6 * push) - sigmoid(6 * push), 0.1)
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
