"""A lens at several positions of the prompts.

At the decision a label comes next. At any other position the same two rows of the unembedding say
how much the residual there leans to one label, were it asked. Only what was stored can be read: so
labels are compared by their first tokens, and prompts whose labels share it are left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from nashlens.activations.store import ActivationStore
from nashlens.kept import kept
from nashlens.lens.logit import ResidualCounts, Translate, lens_table, residual_counts
from nashlens.models.weights import Readout
from nashlens.vocabulary.positions import DECISION, position_column

_LABELS = ["label_tokens_0", "label_tokens_1"]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let each layer be computed by one thread, so that their number changes no result."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def lens_at_positions(
    store: ActivationStore,
    prompts: pd.DataFrame,
    positions: Sequence[str],
    *,
    readout: Readout,
    model: str,
    translate: Translate | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> pd.DataFrame:
    """Read every layer of a model through a lens, at each position.

    Parameters
    ----------
    store : ActivationStore
        The model's activations.
    prompts : DataFrame
        The prompts table.
    positions : sequence of str
        Each takes the prompts that have it.
    readout : nashlens.models.weights.Readout
    model : str
        Name for the table.
    translate : callable, optional
        A tuned lens, see `lens_table`.
    device : str
        What multiplies, as torch names it.
    threads : int
        Layers that are read side by side on a CPU, each as one alone would be.

    Returns
    -------
    DataFrame
        The rows of `lens_table`, with `position`. Apart from the decision `prior_action_1` is
        missing, and `whole_action_1` where a label has several tokens.
    """
    tables = []
    for position in positions:
        there = store.at(position)
        rows = prompts if position == DECISION else there.having(_first_tokens(prompts))
        if rows.empty and position != DECISION:
            continue
        table = lens_table(
            there.layer,
            range(store.n_layers + 1),
            rows,
            readout=readout,
            model=model,
            last=store.n_layers,
            translate=translate,
            device=device,
            threads=threads,
        )
        if position != DECISION:
            lengths = rows.drop_duplicates("prompt_id").set_index("prompt_id")["longest_label"]
            table["n_label_tokens"] = lengths.loc[table["prompt_id"]].to_numpy()
            table.loc[table["n_label_tokens"] > 1, "whole_action_1"] = np.nan
        table.insert(list(table.columns).index("layer"), "position", position)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def residuals_read(prompts: pd.DataFrame, positions: Sequence[str]) -> list[ResidualCounts]:
    """Return how many residuals a lens reads at each layer, for each position.

    Parameters
    ----------
    prompts : DataFrame
        The prompts table, with a column for each position but the decision.
    positions : sequence of str
    """
    return [
        residual_counts(
            prompts
            if position == DECISION
            else _first_tokens(prompts[prompts[position_column(position)].notna()])
        )
        for position in positions
    ]


def _first_tokens(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts whose labels differ in the first token, with these tokens only."""
    used = kept(prompts)
    longest = used[_LABELS].map(len).max(axis=1)
    first = used[_LABELS].map(lambda tokens: tokens[:1])
    differ = [a[0] != b[0] for a, b in zip(*(first[name] for name in _LABELS), strict=True)]
    changed = used.assign(longest_label=longest, **{name: first[name] for name in _LABELS})
    return changed[np.array(differ, dtype=bool)].drop(columns=["prior_id", "prior_token_ids"])
