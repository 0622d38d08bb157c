"""Synthetic tables of who writes the answer, in which the truth is planted."""

from itertools import product

import numpy as np
import pandas as pd

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
):
    """Late components that each add so much against the Nash action, in whole blocks of one game.

    `random` is what each random group brings back; `destroy` and `restore` what exchanges move.
    """
    rng = np.random.default_rng(seed)
    size, curve = len(effects), np.cumsum(effects)
    returned = {"none_000": 0.0, "candidate_000": curve[-1]}
    returned |= {f"random_{k:03d}": random + 0.02 * rng.normal() for k in range(5)}
    returned |= {f"first_{k + 1:03d}": value for k, value in enumerate(curve)}
    for k in range(orders):
        values = np.cumsum(rng.permutation(effects))
        returned |= {f"order_{k * size + i:03d}": value for i, value in enumerate(values)}
    for name, moved, sign in (("destroy", destroy, 1.0), ("restore", restore, -1.0)):
        if moved is not None:
            returned[f"{name}_000"] = sign * moved
            returned |= {f"{name}_random_{k:03d}": 0.01 * k for k in range(5)}
    rows = []
    forms = product(range(histories), ("identity", "swapped"), ("forward", "reversed"))
    for i, label_map, order in forms:
        common = {
            "model": model, "prompt_id": f"p{i}{label_map}{order}", "match_id": f"m{i}",
            "block_id": f"m{i}/3", "game": "pd", "nash_action": 1, "prosocial_action": 0,
            "template": "neutral", "label_set": ("jf", "xy")[i % 2], "label_map": label_map,
            "option_order": order, "phase": "test", "layer": pd.NA, "head": pd.NA,
            "late_components": 40, "label_mass": 0.9,
        }  # fmt: skip
        word = 0.5 if label_map == "swapped" else -0.5
        for name, back in returned.items():
            kind = name.rpartition("_")[0]
            gain = back * (1.0 + noise * rng.normal()) + 0.3 * word * (back != 0)
            start = 1.0 if kind.startswith("restore") else before
            names = " ".join(f"15.{k}" for k in range(size))
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
