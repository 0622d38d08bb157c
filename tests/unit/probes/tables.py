"""A small prompts table, and activations in which a signal is planted."""

import numpy as np
import pandas as pd

from nashlens.vocabulary.targets import TARGETS

WIDTH = 24


def prompts_table(matches=40, seed=0):
    """Two rounds a match; games, seats, label sets and templates take turns."""
    rng = np.random.default_rng(seed)
    rows = []
    for m in range(matches):
        game = ("pd", "harmony", "pennies", "stag")[m % 4]
        for r in (2, 5):
            last = int(rng.integers(2))
            rows.append(
                {
                    "prompt_id": f"p{m}-{r}",
                    "match_id": f"m{m:03d}",
                    "game": game,
                    "seat": ("row", "column")[m // 4 % 2],
                    "round": r,
                    "label_set": ("jf", "xy")[m // 8 % 2],
                    "template": ("neutral", "named")[m // 16 % 2],
                    "text": f"game {game}, round {r}",
                    "dropped": "",
                    "own_last": int(rng.integers(2)),
                    "opponent_last": last,
                    "opponent_cooperation": float(rng.integers(5)) / 4,
                    "nash_action": {"pd": 1, "harmony": 0}.get(game),
                    "prosocial_action": None if game == "pennies" else 0,
                    "best_response": last if game == "stag" else {"pd": 1}.get(game, 0),
                    "chosen_action": int(rng.integers(2)),
                }
            )
            rows[-1] |= {name: int(rng.integers(2)) for name in TARGETS if name not in rows[-1]}
    actions = [name for name in TARGETS if name != "opponent_cooperation"]
    return pd.DataFrame(rows).astype(dict.fromkeys(actions, "Int64"))


def loader(prompts, strength, seed=1, target="opponent_last"):
    """Return activations whose first feature holds a target, as strongly as each layer is told."""
    signal = prompts[target].to_numpy(dtype=float) - 0.5

    def load(layer):
        if layer == 0:
            return np.full((len(prompts), WIDTH), 0.3, dtype=np.float32)
        rng = np.random.default_rng([seed, layer])
        x = rng.normal(size=(len(prompts), WIDTH))
        x[:, 0] += strength.get(layer, 0.0) * signal
        return x.astype(np.float32)

    return load
