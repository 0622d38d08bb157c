"""Synthetic tables of who writes the answer, in which the truth is planted."""

from itertools import product

import numpy as np
import pandas as pd

from nashlens.circuits.override import sizes_tried

CHOIR = (0.45, 0.42, 0.4, 0.4, 0.4, 0.38, 0.38, 0.37)
"""Logits of Nash play that each of eight components takes away: half of it is that of four."""


def override(
    effects=CHOIR,
    before=-1.2,
    random=0.0,
    destroy=None,
    restore=None,
    histories=8,
    orders=3,
    noise=0.02,
    model="m",
    seed=0,
    others=(),
    late=40,
):
    """Late components that each add so much against the Nash action, in whole blocks of one game.

    `random` is what each random group brings back; `destroy` and `restore` what exchanges move.
    `others` is what those add that write against it as well and are no candidates.
    """
    rng = np.random.default_rng(seed)
    whole, sizes = sum(effects), sizes_tried(len(effects))
    returned = {"none_000": 0.0, "candidate_000": whole}
    returned |= {f"random_{k:03d}": random + 0.02 * rng.normal() for k in range(5)}
    returned |= {"all_000": whole + sum(others)}
    of = dict.fromkeys(returned, range(len(effects)))
    of |= {"none_000": range(0), "all_000": range(len(effects) + len(others))}
    for draw in range(-1, orders):
        order = rng.permutation(len(effects)) if draw >= 0 else np.arange(len(effects))
        for i, k in enumerate(sizes):
            name = f"order_{draw * len(sizes) + i:03d}" if draw >= 0 else f"first_{k:03d}"
            returned[name], of[name] = np.asarray(effects)[order[:k]].sum(), order[:k]
    for name, moved, sign in (("destroy", destroy, 1.0), ("restore", restore, -1.0)):
        if moved is not None:
            returned[f"{name}_000"] = sign * moved
            returned |= {f"{name}_random_{k:03d}": 0.01 * k for k in range(5)}
    of |= {name: range(len(effects)) for name in returned if name not in of}
    rows = []
    forms = product(range(histories), ("identity", "swapped"), ("forward", "reversed"))
    for i, label_map, order in forms:
        common = {
            "model": model, "prompt_id": f"p{i}{label_map}{order}", "match_id": f"m{i}",
            "block_id": f"m{i}/3", "game": "pd", "nash_action": 1, "prosocial_action": 0,
            "template": "neutral", "label_set": ("jf", "xy")[i % 2], "label_map": label_map,
            "option_order": order, "phase": "test", "layer": pd.NA, "head": pd.NA,
            "late_components": late, "label_mass": 0.9,
        }  # fmt: skip
        word = 0.5 if label_map == "swapped" else -0.5
        for name, back in returned.items():
            kind = name.rpartition("_")[0]
            gain = back * (1.0 + noise * rng.normal()) + 0.3 * word * (back != 0)
            start = 1.0 if kind.startswith("restore") else before
            names = " ".join(f"15.{k}" for k in of[name])
            size = len(of[name])
            rows.append(common | {"ablation": name, "kind": kind, "heads": names, "size": size})
            rows[-1] |= {"drop": -gain, "logit_nash": start + gain + word}
    return pd.DataFrame(rows)


def attribution(action=None, word=None, layers=16, heads=4, histories=8, noise=0.05, model="m"):
    """What components add on histories of one game, a block each, by component.

    `action` is towards the Nash action, `word` towards the pair's first label; others add noise.
    """
    rng = np.random.default_rng(0)
    action = {"12.mlp": 0.6, "15.1": -1.5} if action is None else action
    word = {"14.mlp": 2.0} if word is None else word
    places = [("total", "total"), ("embedding", "embedding"), ("bias", "bias")]
    numbers = range(1, layers + 1)
    places += [(f"{layer}.{kind}", kind) for kind in ("attention", "mlp") for layer in numbers]
    places += [(f"{layer}.{head}", "head") for layer in numbers for head in range(heads)]
    rows = []
    forms = product(range(histories), ("identity", "swapped"), ("forward", "reversed"))
    for i, label_map, order in forms:
        first = 1.0 if label_map == "swapped" else -1.0
        for name, kind in places:
            layer, _, head = name.partition(".")
            heard = [name]
            if kind == "attention":
                heard = [f"{layer}.{one}" for one in range(heads)]
            if kind == "total":
                heard = [*action, *word]
            logit = sum(action.get(one, 0.0) + first * word.get(one, 0.0) for one in heard)
            rows.append({
                "model": model, "prompt_id": f"p{i}{label_map}{order}", "match_id": f"m{i}",
                "block_id": f"m{i}/3", "game": "pd", "nash_action": 1, "template": "neutral",
                "label_set": ("jf", "xy")[i % 2], "label_map": label_map, "option_order": order,
                "phase": ("choose", "test")[i % 2], "component": name, "kind": kind,
                "layer": int(layer) if layer.isdigit() else pd.NA,
                "head": int(head) if kind == "head" else pd.NA,
                "logit": logit + noise * rng.normal(),
            })  # fmt: skip
    return pd.DataFrame(rows).astype({"layer": "Int64", "head": "Int64"})
