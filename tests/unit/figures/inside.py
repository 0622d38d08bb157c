"""Planted tables of prompts, and of what lenses and probes read of 31 layers."""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
import pandas as pd

from nashlens.estimates import Bootstrap
from nashlens.lens.summary import summarise_lens

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
            how=Bootstrap(0.95, 100, 1),
        )
        for model in dict.fromkeys(prompts["model"])
    ]
    return pd.concat(parts, ignore_index=True)


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
