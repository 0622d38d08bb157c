"""What the late components that write against the Nash action cause.

Attribution says who writes the answer, not whether it would be another without them: others may
stand in. So the late heads and MLPs that write against the Nash action on one half of the histories
are, on the other half,

- *ablated* together, by their means over prompts: does the Nash action return (necessity)?
- ablated one after another, the one that writes the most first: how many does it take?
- where there are pairs of prompts, given the values of a prompt without a conflict (are they
  necessary?), and by themselves given to that prompt (are they sufficient?).

An override that writes the same without a conflict is seen by ablation only: there is nothing in it
to exchange.

The control is as many random other components of the same layers, and random orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nashlens.circuits.attribution import Writers
from nashlens.engine.labels import (
    label_probabilities,
    labelled_prompts,
)
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.engine.recording import site_outputs
from nashlens.errors import DataError
from nashlens.interventions import PROMPT_COLUMNS, prompts_by_interventions
from nashlens.seeds import stream
from nashlens.vocabulary.positions import DECISION

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

LEAST_SHARE = 0.02
"""Share of all that late components write against the Nash action from which one is a candidate."""
KINDS = ("none", "candidate", "random", "first", "order")
"""Kinds of ablation: nothing, all candidates, a random group, the first candidates, and the first
in a random order."""
SWAPS = ("destroy", "restore")
"""Into the prompt with a conflict from the one without, and the other way round."""


def late_layers(n_layers: int, late_fraction: float) -> list[int]:
    """Return the layers that count as late: a share of all, from the top."""
    return [k for k in range(1, n_layers + 1) if k > n_layers * (1.0 - late_fraction)]


def late_writers(attribution: pd.DataFrame, late_fraction: float) -> list[Site]:
    """Choose the late heads and MLPs that write against the Nash action.

    Parameters
    ----------
    attribution : pandas.DataFrame
        The attribution table of the histories that choose.
    late_fraction : float
        Share of the layers, from the top, that counts as late.

    Returns
    -------
    list of Site
        The one that writes the most against the Nash action first; none where none does.

    Raises
    ------
    DataError
        If no prompt is in a complete block.
    """
    writers = Writers(attribution)
    if not len(writers):
        raise DataError(
            "attribution.games: no scenario was asked in both prompts.label_maps and both"
            " prompts.option_orders; without that an action cannot be told from its word"
        )
    places = writers.places.assign(
        against=-writers.blocks.estimate(writers.parts["action"]).estimate
    )
    late = places["layer"].isin(late_layers(int(places["layer"].max()), late_fraction))
    against = places[late & places["kind"].isin(["head", "mlp"]) & (places["against"] > 0)]
    against = against[against["against"] > LEAST_SHARE * against["against"].sum()]
    against = against.sort_values("against", ascending=False, kind="stable")
    return [
        Site(str(kind), int(layer), -1 if kind == "mlp" else int(head))
        for kind, layer, head in zip(
            against["kind"], against["layer"], against["head"], strict=True
        )
    ]


def random_groups(
    sites: Sequence[Site],
    layers: Sequence[int],
    n_heads: int,
    count: int,
    rng: np.random.Generator,
) -> list[list[Site]]:
    """Draw groups of other components, as many from each layer as were chosen there.

    Where a layer has too few others, the rest comes from the other late layers, as far as they go.

    Parameters
    ----------
    sites : sequence of Site
    layers : sequence of int
        The late layers.
    n_heads : int
        Number of heads in a layer; its MLP is drawn like one more.
    count : int
        Number of groups, all different; fewer are returned if no more are found.
    rng : numpy.random.Generator
    """
    others = [site for site in late_components(layers, n_heads) if site not in sites]
    wanted = Counter(site.layer for site in sites)
    found: dict[tuple[Site, ...], None] = {}
    for _ in range(20 * count):
        drawn: list[Site] = []
        shuffled = [others[k] for k in rng.permutation(len(others))]
        for layer, size in sorted(wanted.items()):
            drawn += [site for site in shuffled if site.layer == layer][:size]
        rest = [site for site in shuffled if site not in drawn]
        drawn += rest[: len(sites) - len(drawn)]
        if drawn:
            found[tuple(sorted(drawn))] = None
        if len(found) == count:
            break
    return [list(group) for group in found]


def late_components(layers: Sequence[int], n_heads: int) -> list[Site]:
    """Return all heads and MLPs of some layers."""
    return [
        Site(kind, layer, head)
        for layer in layers
        for kind, head in [("mlp", -1), *(("head", head) for head in range(n_heads))]
    ]


def override_table(
    engine: Engine,
    chosen: pd.DataFrame,
    attribution: pd.DataFrame,
    *,
    late_fraction: float,
    draws: int,
    orders: int,
    seed: int,
    model: str,
) -> pd.DataFrame:
    """Ablate the late components that write against the Nash action, together and one by one.

    Parameters
    ----------
    engine : Engine
    chosen : pandas.DataFrame
        Of `nashlens.circuits.attribution.choose_decisions`.
    attribution : pandas.DataFrame
        Of `nashlens.circuits.attribution.attribution_table`, for the same prompts.
    late_fraction : float
    draws, orders : int
        Number of random groups, and of random orders.
    seed : int
    model : str

    Returns
    -------
    pandas.DataFrame
        One row per prompt of the histories that test and ablation: `ablation`, `kind` (see
        `KINDS`), `size` (how many components), `draw` (which random group or order), `heads` (the
        components), `late_components` (number of all late heads and MLPs), `logit_nash` (the Nash
        action over the other), `drop` (how much less that is than without an ablation; negative
        where Nash play returns) and `label_mass`.
    """
    phase = attribution["phase"] == "choose"
    sites = late_writers(attribution[phase], late_fraction)
    layers = late_layers(engine.n_layers, late_fraction)
    rng = stream(seed, "random components", model)
    others = random_groups(sites, layers, engine.n_heads, draws, rng) if sites else []
    groups: dict[tuple[str, int], list[Site]] = {("none", 0): []}
    if sites:
        groups["candidate", 0] = sites
    groups |= {("random", k): group for k, group in enumerate(others)}
    groups |= {("first", k): sites[:k] for k in range(1, len(sites) + 1)}
    for draw in range(orders):
        order = [sites[k] for k in rng.permutation(len(sites))]
        groups |= {("order", draw * len(sites) + k): order[: k + 1] for k in range(len(sites))}
    means = _means(engine, chosen, {site for group in groups.values() for site in group})
    testing = chosen[chosen["phase"] == "test"]
    asked = labelled_prompts(testing)
    changes = [Change(tuple(group), DECISION, "mean") for group in groups.values()]
    at = [{DECISION: [len(prompt.ids) - 1]} for prompt in asked]
    logprobs = patch_scores(engine, asked, changes, groups=at, means=means, what="late components")
    nash = _towards_nash(logprobs, testing["nash_action"])
    described = pd.DataFrame(
        {
            "ablation": [f"{kind}_{k:03d}" for kind, k in groups],
            "kind": [kind for kind, _ in groups],
            "size": [len(group) for group in groups.values()],
            "draw": [k // len(sites) if kind == "order" else k for kind, k in groups],
            "heads": [" ".join(map(site_name, group)) for group in groups.values()],
        }
    )
    described[["layer", "head"]] = pd.NA
    described["late_components"] = len(late_components(layers, engine.n_heads))
    scores = {
        "logit_nash": nash,
        "drop": nash[:, :1] - nash,
        "label_mass": label_probabilities(logprobs)[1],
    }
    columns = [*PROMPT_COLUMNS, "prosocial_action", "phase"]
    table = prompts_by_interventions(testing[columns], described, scores)
    table.insert(0, "model", model)
    return table.astype({"layer": "Int64", "head": "Int64"})


def swaps_table(
    engine: Engine,
    pairs: pd.DataFrame,
    sites: Sequence[Site],
    *,
    layers: Sequence[int],
    draws: int,
    seed: int,
    model: str,
) -> pd.DataFrame:
    """Exchange what some components write between prompts with and without a conflict.

    Parameters
    ----------
    engine : Engine
    pairs : pandas.DataFrame
        Rows of the pairs table of the kind `payoffs` whose own prompt has a conflict. With the own
        payoffs exchanged the Nash action is the other one, which ends the conflict where the
        prosocial action stays; the caller chooses such games.
    sites : sequence of Site
        Of `late_writers`, chosen on other histories.
    layers : sequence of int
        The late layers.
    draws : int
        Number of random groups.
    seed : int
    model : str

    Returns
    -------
    pandas.DataFrame
        One row per pair, direction (see `SWAPS`) and group (`candidate`, `random`): `logit`, action
        1 over action 0 of the prompt that is changed; `total`, what the other prompt's answer is
        more; `effect`, what the exchange adds.
    """
    rng = stream(seed, "random components", model)
    others = random_groups(sites, layers, engine.n_heads, draws, rng)
    groups = {"candidate_000": list(sites)}
    groups |= {f"random_{k:03d}": group for k, group in enumerate(others)}
    none = Change((), DECISION, "source")
    changes = [none, *(Change(tuple(group), DECISION, "source") for group in groups.values())]
    both = [labelled_prompts(pairs, name) for name in ("ids", "source_ids")]
    at = [{DECISION: [len(prompt.ids) - 1]} for prompt in both[0]]
    logits = []
    for into, source in (both, both[::-1]):
        ids = [prompt.ids for prompt in source]
        found = patch_scores(engine, into, changes, groups=at, sources=ids, what="exchanges")
        logits.append(found[..., 1] - found[..., 0])
    described = pd.DataFrame(
        {
            "ablation": list(groups),
            "kind": [name.partition("_")[0] for name in groups],
            "heads": [" ".join(map(site_name, group)) for group in groups.values()],
        }
    )
    tables = []
    for k, direction in enumerate(SWAPS):
        here, there = logits[k], logits[1 - k]
        own = pairs[["pair_id", *PROMPT_COLUMNS, "source_nash_action"]].assign(
            direction=direction, logit=here[:, 0], total=there[:, 0] - here[:, 0]
        )
        tables.append(
            prompts_by_interventions(own, described, {"effect": here[:, 1:] - here[:, :1]})
        )
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "model", model)
    return table


def site_name(site: Site) -> str:
    """Return a component in one word, as the attribution table has it: `11.3`, `12.mlp`."""
    return f"{site.layer}.{site.head if site.kind == 'head' else site.kind}"


def _means(
    engine: Engine, chosen: pd.DataFrame, sites: set[Site]
) -> dict[Site | tuple[Site, str], np.ndarray]:
    """Return what each component writes at the decision, on average over all prompts."""
    ids = [tokens.tolist() for tokens in chosen["token_ids"]]
    found = site_outputs(engine, ids, sorted(sites), [[len(tokens) - 1] for tokens in ids])
    return {site: values.mean(axis=0) for site, values in found.items()}


def _towards_nash(logprobs: np.ndarray, action: pd.Series) -> np.ndarray:
    """Return logits of the Nash action over the other, (n, changes)."""
    odds = logprobs[..., 1] - logprobs[..., 0]
    return np.asarray(odds * np.where(action.to_numpy(dtype=float) == 1.0, 1.0, -1.0)[:, None])
