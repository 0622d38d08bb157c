"""What the late components that write against the Nash action cause.

Attribution says who writes the answer, not whether it would be another without them: others may
stand in. So the late heads and MLPs that write nearly all that is written against the Nash action,
chosen on some histories, are on the others

- *ablated* together, by their means over prompts: does the Nash action return (necessity)?
- ablated one after another, the one that writes the most first: how many does it take, of what all
  that write against it have together? Many are not added one by one, but in growing steps.
- where there are pairs of prompts, given the values of a prompt without a conflict (are they
  necessary?), and by themselves given to that prompt (are they sufficient?).

An override that writes the same without a conflict is seen by ablation only: there is nothing in it
to exchange.

The control is as many random other components of the same layers, and random orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from nashlens.circuits.candidates import site_name
from nashlens.circuits.writers import Writers
from nashlens.depth import is_late
from nashlens.engine.labels import label_probabilities, labelled_prompts
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.engine.recording import Recorded
from nashlens.interventions import PROMPT_COLUMNS, prompts_by_interventions
from nashlens.kept import kept
from nashlens.seeds import stream
from nashlens.vocabulary.positions import DECISION

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

WRITTEN = 0.95
"""Share of all that late components write against the Nash action that the candidates write. A
least share of each would leave out every one of many that write the same."""
SIZES = 20
"""Numbers of components that are ablated together, one after another: every one up to this, else
about as many."""
KINDS = ("none", "candidate", "random", "all", "first", "order")
"""Kinds of ablation: nothing, all candidates, a random group, all that write against the Nash
action, the first candidates, and the first in a random order."""
Groups = Mapping[tuple[str, int], Sequence[Site]]
"""Components that are changed together, by kind and number."""
EXCHANGES = ("destroy", "restore")
"""Kinds of exchange: into the prompt with a conflict from the one without, and the other way
round; with `_random` behind them, of random groups."""


def late_layers(n_layers: int, late_fraction: float) -> list[int]:
    """Return the layers that count as late: a share of all, from the top."""
    layers = np.arange(1, n_layers + 1)
    return [int(layer) for layer in layers[is_late(layers, late_fraction)]]


class LateWriters(NamedTuple):
    """Late heads and MLPs that write against the Nash action."""

    every: list[Site]
    """The one that writes the most first."""
    candidates: list[Site]
    """The fewest first ones that write `WRITTEN` of what all write."""


def late_writers(attribution: pd.DataFrame, late_fraction: float) -> LateWriters:
    """Find the late heads and MLPs that write against the Nash action.

    Parameters
    ----------
    attribution : pandas.DataFrame
        The attribution table of the histories that choose.
    late_fraction : float
        Share of the layers, from the top, that counts as late.

    Returns
    -------
    LateWriters
        None where none does, or no prompt is in a complete block, without which an action cannot
        be told from its word.
    """
    writers = Writers(attribution)
    if not len(writers):
        return LateWriters([], [])
    places = writers.places.assign(
        against=-writers.blocks.estimate(writers.parts["action"]).estimate
    )
    late = places["layer"].isin(late_layers(int(places["layer"].max()), late_fraction))
    against = places[late & places["kind"].isin(["head", "mlp"]) & (places["against"] > 0)]
    against = against.sort_values("against", ascending=False, kind="stable")
    every = [
        Site(str(kind), int(layer), -1 if kind == "mlp" else int(head))
        for kind, layer, head in zip(
            against["kind"], against["layer"], against["head"], strict=True
        )
    ]
    written = against["against"].cumsum().to_numpy(dtype=float)
    # The one that reaches the share is the last; a sum may fall short of it by rounding.
    fewer = int((written < (WRITTEN - 1e-9) * written[-1]).sum()) if every else 0
    return LateWriters(every, every[: fewer + 1])


def sizes_tried(number: int) -> list[int]:
    """Return how many components are ablated together, one number after another, up to all.

    Parameters
    ----------
    number : int
        Of all of them, at least 1.

    Returns
    -------
    list of int
        Every number up to `SIZES` components, else about as many, evenly in their logarithm.

    Examples
    --------
    >>> sizes_tried(100)[-9:]
    [20, 25, 30, 37, 45, 55, 67, 82, 100]
    """
    if number <= SIZES:
        return list(range(1, number + 1))
    # Small numbers come more than once: only with more points there are as many different ones.
    grids = (np.unique(np.geomspace(1, number, k).round()) for k in count(SIZES))
    return [int(size) for size in next(grid for grid in grids if len(grid) >= SIZES)]


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
    recorded: Recorded,
    pairs: pd.DataFrame | None = None,
    *,
    late_fraction: float,
    draws: int,
    orders: int,
    seed: int,
    model: str,
) -> pd.DataFrame:
    """Ablate and exchange the late components that write against the Nash action.

    Parameters
    ----------
    engine : Engine
    chosen : pandas.DataFrame
        Of `nashlens.circuits.attribution.choose_decisions`.
    attribution : pandas.DataFrame
        Of `nashlens.circuits.attribution.attribution_table`, for the same prompts.
    recorded : Recorded
        Of `nashlens.circuits.attribution.record_answers`, for the same prompts.
    pairs : pandas.DataFrame, optional
        Of `exchange_pairs`; without them nothing is exchanged.
    late_fraction : float
    draws, orders : int
        Number of random groups, and of random orders.
    seed : int
    model : str

    Returns
    -------
    pandas.DataFrame
        One row per prompt of the histories that test and ablation or exchange: `ablation`, `kind`
        (see `KINDS` and `EXCHANGES`), `size` (how many components), `draw` (which random group or
        order), `heads` (the components), `late_components` (number of all late heads and MLPs),
        `logit_nash` (the Nash action of the design's own prompt over the other), `drop` (how much
        less that is than with nothing changed; negative where Nash play returns) and `label_mass`.
    """
    phase = attribution["phase"] == "choose"
    every, sites = late_writers(attribution[phase], late_fraction)
    layers = late_layers(engine.n_layers, late_fraction)
    rng = stream(seed, "random components", model)
    others = random_groups(sites, layers, engine.n_heads, draws, rng) if sites else []
    groups: dict[tuple[str, int], list[Site]] = {("none", 0): []}
    if sites:
        groups["candidate", 0] = sites
    groups |= {("random", k): group for k, group in enumerate(others)}
    exchanged = dict(list(groups.items())[1:])
    sizes = sizes_tried(len(sites)) if sites else []
    groups |= {("all", 0): every} if sites else {}
    groups |= {("first", size): sites[:size] for size in sizes}
    for draw in range(orders):
        order = [sites[k] for k in rng.permutation(len(sites))]
        numbers = enumerate(sizes, draw * len(sizes))
        groups |= {("order", number): order[:size] for number, size in numbers}
    tables = [_ablated(engine, chosen, groups, recorded)]
    if pairs is not None and len(pairs) and exchanged:
        tables += [exchanged_rows(engine, pairs, exchanged, one) for one in EXCHANGES]
    table = pd.concat(tables, ignore_index=True)
    table["late_components"] = len(late_components(layers, engine.n_heads))
    table.insert(0, "model", model)
    return table.astype({"layer": "Int64", "head": "Int64"})


def _ablated(
    engine: Engine, chosen: pd.DataFrame, groups: Groups, recorded: Recorded
) -> pd.DataFrame:
    """Return rows of the table for groups that are ablated, by kind and number, nothing first."""
    sites = {site for group in groups.values() for site in group}
    means = _means(recorded, chosen, sites)
    testing = chosen[chosen["phase"] == "test"]
    asked = labelled_prompts(testing)
    changes = [Change(tuple(group), DECISION, "mean") for group in groups.values()]
    at = [{DECISION: [len(prompt.ids) - 1]} for prompt in asked]
    logprobs = patch_scores(engine, asked, changes, groups=at, means=means, what="late components")
    return _rows(testing, groups, logprobs, logprobs[:, :1])


def exchanged_rows(
    engine: Engine, pairs: pd.DataFrame, groups: Groups, direction: str
) -> pd.DataFrame:
    """Return rows of the override table for groups that get the other prompt's values.

    Parameters
    ----------
    engine : Engine
    pairs : pandas.DataFrame
        Of `exchange_pairs`.
    groups : mapping of (str, int) to sequence of Site
        By kind (`candidate`, `random`) and number.
    direction : {"destroy", "restore"}
    """
    names = ("ids", "source_ids") if direction == "destroy" else ("source_ids", "ids")
    into, source = (labelled_prompts(pairs, name) for name in names)
    changes = [Change(tuple(group), DECISION, "source") for group in [(), *groups.values()]]
    at = [{DECISION: [len(prompt.ids) - 1]} for prompt in into]
    theirs = [prompt.ids for prompt in source]
    what = f"exchanges: {direction}"
    logprobs = patch_scores(engine, into, changes, groups=at, sources=theirs, what=what)
    ends = {"candidate": "", "random": "_random"}
    named = {(direction + ends[kind], k): group for (kind, k), group in groups.items()}
    return _rows(pairs, named, logprobs[:, 1:], logprobs[:, :1])


def _rows(
    prompts: pd.DataFrame, groups: Groups, logprobs: np.ndarray, unchanged: np.ndarray
) -> pd.DataFrame:
    """Lay out scores, (n, groups, 2), beside those with nothing changed, (n, 1, 2)."""
    nash, before = (_towards_nash(some, prompts["nash_action"]) for some in (logprobs, unchanged))
    described = pd.DataFrame(
        {
            "ablation": [f"{kind}_{k:03d}" for kind, k in groups],
            "kind": [kind for kind, _ in groups],
            "size": [len(group) for group in groups.values()],
            "draw": [_draw(kind, k, groups) for kind, k in groups],
            "heads": [" ".join(map(site_name, group)) for group in groups.values()],
        }
    )
    described[["layer", "head"]] = pd.NA
    mass = label_probabilities(logprobs)[1]
    scores = {"logit_nash": nash, "drop": before - nash, "label_mass": mass}
    columns = [*PROMPT_COLUMNS, "prosocial_action", "phase"]
    return prompts_by_interventions(prompts[columns], described, scores)


def _draw(kind: str, number: int, groups: Groups) -> int:
    """Return which random group, or random order, a group belongs to."""
    return number // sum(name == "first" for name, _ in groups) if kind == "order" else number


def exchange_pairs(pairs: pd.DataFrame, chosen: pd.DataFrame, per_game: int) -> pd.DataFrame:
    """Choose pairs of which one prompt has a conflict, and the other none.

    With the own payoffs exchanged the Nash action is the other one; where the prosocial action
    stays, both are then the same.

    Parameters
    ----------
    pairs : pandas.DataFrame
        The pairs table; its pairs of the kind `payoffs` are used.
    chosen : pandas.DataFrame
        Of `nashlens.circuits.attribution.choose_decisions`; those that test are used.
    per_game : int
        The largest number of pairs of a game, in whole blocks.

    Returns
    -------
    pandas.DataFrame
        Rows of `pairs`, with the `prosocial_action` and `phase` of their own prompts.
    """
    testing = chosen[chosen["phase"] == "test"]
    used = kept(pairs[pairs["kind"] == "payoffs"])
    used = used[used["source_nash_action"] == used["source_prosocial_action"]]
    keys = ["block_id", "prompt_id"]
    found = testing[[*keys, "prosocial_action", "phase"]].merge(used, on=keys)
    found = found[found["source_prosocial_action"] == found["prosocial_action"]]
    size = len(chosen[["label_map", "option_order"]].drop_duplicates())
    found = found[found.groupby("block_id")["prompt_id"].transform("nunique") == size]
    # Blocks in the order in which they were chosen, each with its mirror image.
    place = found.groupby("game")["block_id"].transform(lambda ids: pd.factorize(ids)[0])
    return found[place < per_game // size].reset_index(drop=True)


def _means(
    recorded: Recorded, chosen: pd.DataFrame, sites: Collection[Site]
) -> dict[Site | tuple[Site, str], np.ndarray]:
    """Return what each component writes at the decision, on average over all prompts."""
    both = zip(recorded.rows, chosen["token_ids"], strict=True)
    rows = torch.tensor([int(row[len(ids) - 1]) for row, ids in both])
    means: dict[Site | tuple[Site, str], np.ndarray] = {}
    for site in sites:
        values = recorded.values[site.kind, site.layer][max(site.head, 0)]
        means[site] = values[rows.to(values.device)].float().mean(dim=0).cpu().numpy()
    return means


def _towards_nash(logprobs: np.ndarray, action: pd.Series) -> np.ndarray:
    """Return logits of the Nash action over the other, (n, changes)."""
    odds = logprobs[..., 1] - logprobs[..., 0]
    return np.asarray(odds * np.where(action.to_numpy(dtype=float) == 1.0, 1.0, -1.0)[:, None])
