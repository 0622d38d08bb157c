"""A small prompts table, and activations in which a signal is planted."""

from itertools import product

import numpy as np
import pandas as pd

from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS
from nashlens.vocabulary.targets import TARGET_COLUMNS, TARGETS

WIDTH = 24
FORMS = tuple(product(LABEL_MAPS, OPTION_ORDERS))
NASH = {"pd": 1, "harmony": 0, "deadlock": 1, "concord": 0}
ACTIONS = [column.name for column in TARGET_COLUMNS if not column.share]


def prompts_table(
    matches=40,
    seed=0,
    *,
    games=("pd", "harmony", "pennies", "stag"),
    rounds=(2, 5),
    forms=FORMS[:1],
):
    """Histories in two rounds and some surface forms.

    Games, seats, label sets and templates take turns. By default a prompt has one form only.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for m, r in product(range(matches), rounds):
        game = games[m % len(games)]
        last, coop = int(rng.integers(2)), float(rng.integers(5)) / 4
        common = {
            "match_id": f"m{m:03d}",
            "block_id": f"m{m:03d}/{r}",
            "game": game,
            "seat": ("row", "column")[m // 4 % 2],
            "round": r,
            "label_set": ("jf", "xy")[m // 8 % 2],
            "template": ("neutral", "named")[m // 16 % 2],
            "text": f"game {game}, round {r}",
            "dropped": "",
            "own_last": int(rng.integers(2)),
            "opponent_last": last,
            "opponent_cooperation": coop,
            "nash_action": NASH.get(game),
            "prosocial_action": None if game == "pennies" else 0,
            "best_response": last if game == "stag" else NASH.get(game, 0),
        }
        for label_map, option_order in forms:
            row = {"prompt_id": f"p{m}-{r}-{label_map}-{option_order}", **common}
            row |= {"label_map": label_map, "option_order": option_order}
            row["chosen_action"] = int(rng.integers(2))
            rows.append(row | {name: 0 for name in TARGETS if name not in row})
    frame = pd.DataFrame(rows).astype(dict.fromkeys(ACTIONS, "Int64"))
    # A label or place of an action is the action itself, or the other one where forms turn it.
    swapped = (frame["label_map"] == LABEL_MAPS[1]).astype("Int64")
    turned = (frame["option_order"] == OPTION_ORDERS[1]).astype("Int64")
    for name in ("nash", "prosocial", "chosen"):
        frame[f"{name}_label"] = (frame[f"{name}_action"] + swapped) % 2
        frame[f"{name}_place"] = (frame[f"{name}_action"] + turned) % 2
    return frame


def loader(prompts, strength, seed=1, target="opponent_last"):
    """Return activations whose first feature holds a target, as strongly as each layer is told."""
    signal = prompts[target].astype(float).fillna(0.5).to_numpy() - 0.5

    def load(layer):
        if layer == 0:
            return np.full((len(prompts), WIDTH), 0.3, dtype=np.float32)
        rng = np.random.default_rng([seed, layer])
        x = rng.normal(size=(len(prompts), WIDTH))
        x[:, 0] += strength.get(layer, 0.0) * signal
        return x.astype(np.float32)

    return load
