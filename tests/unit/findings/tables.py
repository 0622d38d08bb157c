"""Synthetic tables in which the truth is planted."""

from itertools import product

import numpy as np
import pandas as pd
from scipy.special import expit

from nashlens.findings import JudgeSettings

LAYERS = 16
LABEL_SETS = ("jf", "xy", "pq")
SETTINGS = JudgeSettings("m", 0.95, 400, 3, late_fraction=0.25, min_label_mass=0.01)
NASH = {"pd": 1, "harmony": 0, "deadlock": 1, "concord": 0}
PROSOCIAL = {"pd": 0, "harmony": 0, "deadlock": 1, "concord": 0, "pennies": None}


GAMES = ("pd", "harmony", "deadlock", "concord", "pennies")


def _turned(action, turned):
    return action if action is None else int(action != turned)


def prompts(histories=4, games=GAMES, templates=("neutral",)):
    """Histories of each game and label set, each asked at two rounds in a whole block."""
    rows = []
    forms = list(product(("identity", "swapped"), ("forward", "reversed")))
    for game, label_set, h, r in product(games, LABEL_SETS, range(histories), (2, 5)):
        match = f"{game}/{label_set}-{h}"
        template = templates[h % len(templates)]
        for label_map, order in forms:
            rows.append(
                {
                    "prompt_id": f"{match}-{r}-{label_map}-{order}",
                    "match_id": match,
                    "scenario_id": f"{match}/{r}",
                    "block_id": f"{match}/{r}/{template}/{label_set}",
                    "game": game,
                    "round": r,
                    "template": template,
                    "label_set": label_set,
                    "label_kind": "neutral",
                    "label_map": label_map,
                    "option_order": order,
                    "nash_action": NASH.get(game),
                    "prosocial_action": PROSOCIAL[game],
                    "nash_label": _turned(NASH.get(game), label_map == "swapped"),
                    "nash_place": _turned(NASH.get(game), order == "reversed"),
                    "dropped": "",
                }
            )
    return pd.DataFrame(rows).astype({"nash_action": "Int64", "prosocial_action": "Int64"})


def lens(frame, *, nash=0.0, prosocial=0.0, word=0.0, place=0.0, noise=0.3, seed=0, mass=0.5):
    """Logits by layer: each part is a number, or one value for each layer 1..LAYERS.

    Each history adds noise to the first label and to the place, which cancels within blocks, and
    to the Nash action (action 1 where there is none), which does not; each prompt has its own.
    """
    rng = np.random.default_rng(seed)
    n = len(frame)
    code, names = pd.factorize(frame["match_id"])

    def sign(column):
        values = frame[column].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        return np.nan_to_num(2 * values - 1)

    first_is_1 = np.where(frame["label_map"] == "swapped", 1.0, -1.0)
    first_listed_is_1 = np.where(frame["option_order"] == "reversed", 1.0, -1.0)
    action = np.where(sign("nash_action") == 0, 1.0, sign("nash_action"))
    parts = []
    for layer in range(LAYERS + 1):
        strength = [
            0.0 if layer == 0 else float(np.broadcast_to(part, (LAYERS,))[layer - 1])
            for part in (nash, prosocial, word, place)
        ]
        # (3, n): what each history adds to the action, the word and the place.
        own = noise * rng.normal(size=(3, len(names)))[:, code]
        odds = (
            strength[0] * sign("nash_action")
            + strength[1] * sign("prosocial_action")
            + own[0] * action
            + (strength[2] + own[1]) * first_is_1
            + (strength[3] + own[2]) * first_listed_is_1
            + noise * rng.normal(size=n)
        )
        parts.append(
            pd.DataFrame(
                {
                    "model": "m",
                    "prompt_id": frame["prompt_id"],
                    "match_id": frame["match_id"],
                    "layer": layer,
                    "logit_0": -odds / 2,
                    "logit_1": odds / 2,
                    "p_action_0": expit(-odds),
                    "p_action_1": expit(odds),
                    "label_mass": mass,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def steps(early, late, late_layers=3):
    return np.array([early] * (LAYERS - late_layers) + [late] * late_layers)


def probe_rows(target, accuracy, *, error=0.02, matches=192, status="ok", split="match", **more):
    """Rows for layers 0..; one accuracy a layer, and further columns by name."""
    accuracy = np.asarray(accuracy, dtype=float)
    return pd.DataFrame(
        {
            "model": "m",
            "target": target,
            "split": split,
            "layer": np.arange(len(accuracy)),
            "status": status,
            "reason": "" if status == "ok" else "constant: action 1 at every prompt",
            "n": 2 * matches,
            "n_matches": matches,
            "balanced_accuracy": accuracy,
            "ci_low": accuracy - 1.96 * error,
            "ci_high": accuracy + 1.96 * error,
            "permutation_mean": 0.49,
            "permutation_high": 0.54,
            "permutation_max_high": 0.56,
            "p_value": np.where(accuracy > 0.55, 1 / 21, 0.5),
            "p_value_max": np.where(accuracy > 0.56, 1 / 21, 0.5),
            "selectivity": accuracy - 0.55,
            "majority": 0.52,
            **{"embedding": 0.5, "bag_of_words": 0.55, "random_weights": 0.55, **more},
            "permutations": 20,
            "confidence": 0.95,
        }
    )


def steering(
    *,
    slope=0.0,
    random_slope=0.2,
    clamp=0.0,
    word=0.0,
    carries=0.0,
    joint=0.0,
    kinds=("abstract", "label"),
    directions=20,
    histories=4,
    noise=0.02,
    seed=0,
    base=0.0,
):
    """Steering of one good layer (8), two weak ones and a joint place, in whole blocks.

    Slopes are in logits a unit of value: `slope` and `clamp` of the abstract direction towards
    action 1; `word` of the label direction towards the first label of the words that it knows, and
    `carries` of others; `random_slope` of either; `joint` what the abstract direction does at
    layers 1 and 2 at once.
    """
    rng = np.random.default_rng(seed)
    doses = {"add": np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), "clamp": np.linspace(-4.0, 4.0, 5)}
    weights = {"4": 0.2, "8": 1.0, "12": 0.3, "1+2": joint / slope if slope else joint}
    cells = [
        (game, label_set, history, label_map, order)
        for game in ("deadlock", "concord")
        for label_set in ("jf", "xy")
        for history in range(histories)
        for label_map in ("identity", "swapped")
        for order in ("forward", "reversed")
    ]
    names = ["game", "label_set", "history", "label_map", "option_order"]
    frame = pd.DataFrame(cells, columns=names)
    frame["template"], frame["seen_template"] = "neutral", True
    frame["seen_label_set"] = frame["label_set"] == "jf"
    frame["nash_action"] = frame["game"].map(NASH)
    block = frame["game"] + "/" + frame["label_set"] + frame.pop("history").astype(str)
    frame["match_id"], frame["block_id"] = block, block + "/2"
    frame["prompt_id"] = [f"p{i}" for i in range(len(frame))]
    first = np.where(frame["label_map"] == "swapped", 1.0, -1.0)[:, None]
    seen = frame["seen_label_set"].to_numpy()[:, None]
    owner = pd.factorize(block)[0]
    start = base + rng.normal(scale=0.5, size=owner.max() + 1)[owner][:, None] + 0.3 * first
    # Histories differ in how far they can be moved.
    strength = 1 + 0.2 * rng.normal(size=owner.max() + 1)[owner][:, None]
    parts = []

    def add(kind, direction, layers, values, effect):
        odds = start + effect * values * strength
        odds = odds + noise * rng.normal(size=odds.shape) * (values != 0)
        rows = frame.loc[frame.index.repeat(len(values))].reset_index(drop=True)
        parts.append(
            rows.assign(
                kind=kind,
                direction=direction,
                layer=int(layers.split("+")[0]),
                layers=layers,
                value=np.tile(values, len(frame)),
                p_action_1=expit(odds).ravel(),
            )
        )

    effects = {
        "abstract": {"add": slope, "clamp": clamp},
        "label": {name: first * np.where(seen, word, carries) for name in doses},
        "published": {"add": 0.0, "clamp": 0.0},
    }
    for layers, weight in weights.items():
        for edit, values in doses.items():
            for kind in kinds:
                add(edit, kind, layers, values, weight * effects[kind][edit])
            ends = values[[0, 2, 4]] if edit == "add" else values[[0, 4]]
            for k in range(directions):
                # Of the action and of the word.
                push = random_slope * rng.normal(size=2) / (1.0 if edit == "add" else 4.0)
                add(edit, f"random_{k:03d}", layers, ends, push[0] + push[1] * first)
    table = pd.concat(parts, ignore_index=True).assign(model="m", units="norms", positions="last")
    return table.assign(p_action_0=1 - table["p_action_1"])


def heads(
    candidate=0.0, random=0.0, spread=0.02, preference=2.0, token=0.5, noise=0.05, groups=20, seed=0
):
    """Drops in logits of a group and random ones, on 16 histories of two games, a block each.

    Single prompts differ by `noise`.
    """
    rng = np.random.default_rng(seed)
    drops = {"candidate": candidate}
    drops |= {f"random_{i:03d}": random + spread * rng.normal() for i in range(groups)}
    rows = []
    for i, label_map, order in product(range(16), ("identity", "swapped"), ("forward", "reversed")):
        game, nash = (("deadlock", 1), ("concord", 0))[i % 2]
        common = {
            "model": "m", "prompt_id": f"p{i}{label_map}{order}", "match_id": f"m{i}",
            "block_id": f"m{i}/3", "game": game, "nash_action": nash, "label_map": label_map,
            "option_order": order, "template": "neutral", "label_set": ("jf", "xy")[i // 2 % 2],
            "phase": "test", "layer": pd.NA, "head": pd.NA, "component": "head",
            "positions": "decision", "method": "exact", "label_mass": 0.9,
        }  # fmt: skip
        side = token if (label_map == "swapped") == (nash == 1) else -token
        lead = preference + side + noise * rng.normal()
        rows.append(common | {"ablation": "none", "kind": "none", "heads": "", "drop": 0.0})
        rows[-1] |= {"logit_nash": lead, "component": ""}
        for name, drop in drops.items():
            drop = drop + side * (name == "candidate") + noise * rng.normal()
            kind = name.partition("_")[0]
            rows.append(common | {"ablation": name, "kind": kind, "heads": "5.0 6.1"})
            rows[-1] |= {"drop": drop, "logit_nash": lead - drop}
    return pd.DataFrame(rows)


PATCHED = ("payoffs", "options", "question", "decision")


def patching(
    shares,
    total=3.0,
    control=0.0,
    token=0.5,
    noise=0.05,
    histories=16,
    layers=(0, 2, 4, 6),
    kinds=("payoffs", "history"),
    directions=("destroy",),
    model="m",
    seed=0,
):
    """Patches of the residual, on histories of two games, a block each.

    `shares` has for each group which share of `total` it carries at each of `layers`; pairs of
    other kinds carry `control` at every place. The pair's first label gains `token` of it.
    """
    rng = np.random.default_rng(seed)
    rows = []
    forms = product(
        kinds, directions, range(histories), ("identity", "swapped"), ("forward", "reversed")
    )
    for kind, direction, i, label_map, order in forms:
        game, nash = (("deadlock", 1), ("concord", 0))[i % 2]
        into = 1.0 if direction == "destroy" else -1.0
        other = -1.0 if nash == 1 else 1.0
        word = token if label_map == "swapped" else -token
        block = f"m{i}/3/neutral"
        common = {
            "model": model, "pair_id": f"{block}/{label_map}/{order}/{kind}", "kind": kind,
            "prompt_id": f"p{i}{label_map}{order}", "match_id": f"m{i}", "block_id": block,
            "game": game, "nash_action": nash, "source_nash_action": nash,
            "opponent_last": i // 2 % 2, "source_opponent_last": 1 - i // 2 % 2,
            "label_map": label_map, "option_order": order, "template": "neutral",
            "label_set": ("jf", "xy")[i // 2 % 2], "direction": direction, "site": "residual",
            "head": -1, "logit": 0.0, "label_mass": 0.9, "chosen": "all", "screened": np.nan,
        }  # fmt: skip
        whole = total if kind == "payoffs" else control
        lead = into * (other * whole + word + noise * rng.normal())
        for layer, group in product(range(len(layers)), shares):
            share = shares[group][layer] if kind == "payoffs" else 1.0
            effect = into * (other * share * whole + share * word + noise * rng.normal())
            rows.append(common | {"layer": layers[layer], "group": group, "total": lead})
            rows[-1] |= {"patch": f"residual/{layers[layer]}/{group}", "effect": effect}
    return pd.DataFrame(rows)


def only_screened(table, patches):
    """Return a patching table as after a screen that left out some patches, by name.

    Estimates by gradients are what exact ones were.
    """
    out = table["patch"].isin(patches)
    return table.assign(
        screened=table["effect"],
        effect=table["effect"].mask(out),
        chosen=np.where(out, "", "screen"),
    )


PLANTED_PATH = {
    "payoffs": (1.0, 0.9, 0.0, 0.0),
    "options": (0.0, 0.0, 0.9, 0.1),
    "question": (0.0, 0.0, 0.1, 0.8),
    "decision": (0.0, 0.0, 0.0, 0.9),
}
"""Payoffs until layer 2, the label at the options after layer 4, then at the question."""
