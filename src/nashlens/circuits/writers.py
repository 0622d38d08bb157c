"""What components write, over prompts and in the mean: the attribution table read.

Apart from what computes that table, since reading one takes no model.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nashlens.estimates import Bootstrap, collect, frame
from nashlens.factorial import PARTS, ScenarioBlocks

PLACE = ["component", "kind", "layer", "head"]
"""What says which component a row is about."""
_KEYS = {
    "model": "str", "quantity": "str", "component": "str", "kind": "str", "layer": "Int64",
    "head": "Int64",
}  # fmt: skip


class Writers:
    """An attribution table as a matrix over prompts and components.

    Parameters
    ----------
    attribution : DataFrame
        One model's attribution table, or one phase of it.

    Attributes
    ----------
    places : DataFrame
        The components' `component`, `kind`, `layer` and `head`.
    blocks : ScenarioBlocks
        Those of the prompts that make complete blocks.
    parts : dict of str to ndarray
        `(blocks, components)` by part, in logits; the action part points to the Nash action.
    """

    def __init__(self, attribution: pd.DataFrame):
        keys = ["prompt_id", "block_id"]
        self.places = attribution.drop_duplicates("component")[PLACE].reset_index(drop=True)
        wide = attribution.pivot_table(index=keys, columns="component", values="logit", sort=False)
        wide = wide[self.places["component"]]
        described = attribution.drop_duplicates(keys).set_index(keys)
        prompts = described.loc[wide.index].reset_index()
        self.blocks = ScenarioBlocks(prompts)
        nash = np.where(prompts["nash_action"].to_numpy(dtype=float) == 1.0, 1.0, -1.0)
        self.parts = self.blocks.parts(wide.to_numpy(dtype=float), nash)

    def __len__(self) -> int:
        return len(self.blocks)


def attribution_estimates(attribution: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return what each component writes.

    Parameters
    ----------
    attribution : DataFrame
        Of `attribution_table`, one model.
    model : str
    how : Bootstrap

    Returns
    -------
    DataFrame
        `model`, `quantity` (`action_part`, towards the Nash action, `word_part`, `place_part`,
        `interaction`), `component`, `kind`, `layer`, `head`, `estimates.COLUMNS`, in logits. Bounds
        hold for all components of a quantity at once.
    """
    writers, tables = Writers(attribution), []
    for part in PARTS if len(writers) else ():
        found = writers.blocks.estimate(writers.parts[part])
        low, high, _ = found.simultaneous(how.confidence, how.resamples, how.rng("attribution"))
        numbers = frame(
            found.estimate, low, high, "student, all at once", found.n, found.n_clusters
        )
        numbers.loc[numbers["ci_low"].isna(), "interval"] = ""
        name = part if part == "interaction" else f"{part}_part"
        tables.append(pd.concat([writers.places, numbers], axis=1).assign(quantity=name))
    return collect([table.assign(model=model) for table in tables], _KEYS)
