"""A small prompts table of complete blocks."""

from itertools import product

import numpy as np
import pandas as pd

NASH = {"deadlock": 1, "pd": 1}
"""Of the other games it is action 0."""


def prompts_table(
    rng,
    games=("deadlock", "concord", "other"),
    histories=2,
    label_sets=("jf",),
    templates=("neutral", "named"),
    words=(),
):
    """Return prompts of random tokens; each label set has two tokens of its own.

    `words` are label sets that mean something.
    """
    tokens = {name: (5 + 2 * i, 6 + 2 * i) for i, name in enumerate([*label_sets, *words])}
    rows = []
    forms = product(games, templates, [*label_sets, *words], range(histories))
    for game, template, label_set, history in forms:
        match = f"{game}/{template}/{label_set}/{history}"
        for label_map, order in product(("identity", "swapped"), ("forward", "reversed")):
            first, second = (np.array([token]) for token in tokens[label_set])
            zero, one = (first, second) if label_map == "identity" else (second, first)
            rows.append(
                {
                    "prompt_id": f"{game}{len(rows)}",
                    "match_id": match,
                    "scenario_id": f"{match}/2",
                    "block_id": f"{match}/2/{template}/{label_set}",
                    "game": game,
                    "round": 2,
                    "template": template,
                    "label_set": label_set,
                    "label_kind": "actions" if label_set in words else "neutral",
                    "label_map": label_map,
                    "option_order": order,
                    "token_ids": rng.integers(0, 61, 9),
                    "label_tokens_0": zero,
                    "label_tokens_1": one,
                    "nash_action": NASH.get(game, 0),
                    "dropped": "",
                    "history": history,
                }
            )
    return pd.DataFrame(rows).astype({"nash_action": "Int64"})
