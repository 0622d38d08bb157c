"""A small prompts table whose surface forms are complete."""

import numpy as np
import pandas as pd


def prompts_table(rng, games=("deadlock", "concord", "other"), histories=2):
    rows = []
    for game in games:
        for template in ("neutral", "named"):
            for history in range(histories):
                match = f"{game}/{template}{history}"
                for label_map in ("identity", "swapped"):
                    for order in ("forward", "reversed"):
                        rows.append(
                            {
                                "prompt_id": f"{game}{len(rows)}",
                                "match_id": match,
                                "scenario_id": f"{match}/2",
                                "block_id": f"{match}/2/{template}/jf",
                                "game": game,
                                "round": 2,
                                "template": template,
                                "label_set": "jf",
                                "label_map": label_map,
                                "option_order": order,
                                "token_ids": rng.integers(0, 61, 9),
                                "label_tokens_0": np.array([5 if label_map == "identity" else 6]),
                                "label_tokens_1": np.array([6 if label_map == "identity" else 5]),
                                "nash_action": 1,
                                "dropped": "",
                                "history": history,
                            }
                        )
    return pd.DataFrame(rows)
