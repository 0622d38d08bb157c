"""What ablating attention heads does to the Nash action's lead: every head, and a chosen group.

On some histories, every head is ablated by itself at the decision position. The heads whose
ablation costs the Nash action the most there, by the action part of blocks, are the candidate
group. Their joint ablation is measured on the other histories, where heads that were chosen by luck
are not lucky again. The control is random groups with as many heads in each of the same layers.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from nashlens.circuits.readings import Ablations
from nashlens.engine.heads import Head, ablate_heads, head_outputs
from nashlens.engine.labels import label_probabilities, labelled_prompts
from nashlens.errors import DataError
from nashlens.interventions import PROMPT_COLUMNS, choose_prompts, prompts_by_interventions
from nashlens.seeds import stream

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

PHASES = ("choose", "test")
"""What a history is used for: to choose the candidate heads, or to test them."""
_WORDING = ["template", "label_set"]


def match_phases(chosen: pd.DataFrame) -> pd.Series:
    """Deal the histories of the prompts to the two phases.

    A quarter of a game's histories chooses, and two at least where there are four: every head is
    ablated on these, but only some groups on the others. Histories of one template and label set
    go to one phase, or two or more of them to each, as far as their numbers allow: an error within
    a wording needs two.

    Parameters
    ----------
    chosen : pandas.DataFrame
        Rows of the prompts table, blocks in the order in which they were chosen.

    Returns
    -------
    pandas.Series
        `choose` or `test`, by the rows' index.

    Raises
    ------
    DataError
        If a game has one history only.
    """
    phase: dict[str, str] = {}
    for game, rows in chosen.groupby("game", sort=False):
        wordings = rows.groupby("match_id", sort=False)[_WORDING].agg(_distinct)
        matches = wordings.groupby(_WORDING, sort=False).ngroup().sort_values(kind="stable")
        if len(matches) < 2:
            raise DataError(
                f"circuits.prompts: the prompts of {game} are of one history, so heads cannot be"
                " chosen on one and tested on another; give more prompts, or the game more"
                " histories"
            )
        first = _number_to_choose(matches.to_list())
        phase |= {str(name): PHASES[k >= first] for k, name in enumerate(matches.index)}
    return chosen["match_id"].astype(str).map(phase)


def _distinct(values: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _number_to_choose(wordings: list[int]) -> int:
    """Return how many histories choose, of those whose wordings are given, equal ones together."""
    most = len(wordings) // 2
    least = min(max(2, len(wordings) // 4), most)

    def lonely(number: int) -> bool:
        both = Counter(wordings[:number]), Counter(wordings[number:])
        return any(count == 1 for part in both for count in part.values())

    return next((k for k in range(least, most + 1) if not lonely(k)), least)


def candidate_group(drops: np.ndarray, n_heads: int, size: int) -> list[Head]:
    """Choose the heads whose ablation costs the Nash action the most.

    Parameters
    ----------
    drops : numpy.ndarray
        `(n_layers * n_heads,)` mean drops, the first layer's heads first.
    n_heads : int
        Number of heads in a layer; at most half of them are chosen, so that the control finds as
        many others.
    size : int

    Returns
    -------
    list of (int, int)
        Layer (from 1) and head (from 0), the largest drop first.

    Raises
    ------
    DataError
        If the model has too few heads.
    """
    group: list[Head] = []
    taken: Counter[int] = Counter()
    for index in np.argsort(-drops, kind="stable").tolist():
        layer, head = index // n_heads + 1, index % n_heads
        if len(group) < size and taken[layer] < n_heads // 2:
            group.append((layer, head))
            taken[layer] += 1
    if len(group) < size:
        raise DataError(
            f"circuits.group: found {size}; this model has {len(drops) // n_heads} layers of"
            f" {n_heads} heads, at most half of which can be compared with the other half:"
            f" allowed: at most {len(group)}"
        )
    return group


def control_groups(
    group: Sequence[Head], n_heads: int, count: int, rng: np.random.Generator
) -> list[list[Head]]:
    """Draw groups of other heads, as many from each layer as the candidate group has.

    Parameters
    ----------
    group : sequence of (int, int)
    n_heads : int
        Number of heads in a layer.
    count : int
        Number of groups, all different; fewer are returned if no more are found.
    rng : numpy.random.Generator
    """
    sizes = Counter(layer for layer, _ in group)
    others = {
        layer: [head for head in range(n_heads) if (layer, head) not in group] for layer in sizes
    }
    found: dict[tuple[Head, ...], None] = {}
    for _ in range(20 * count):
        drawn = tuple(
            (layer, int(head))
            for layer, size in sorted(sizes.items())
            for head in sorted(rng.choice(others[layer], size, replace=False))
        )
        found[drawn] = None
        if len(found) == count:
            break
    return [list(drawn) for drawn in found]


def heads_table(
    engine: Engine,
    prompts: pd.DataFrame,
    *,
    games: Sequence[str],
    prompts_per_game: int,
    replacement: Literal["mean", "zero"],
    group: int,
    random_groups: int,
    seed: int,
    model: str,
) -> pd.DataFrame:
    """Ablate every head, the candidate group, and random groups.

    Parameters
    ----------
    engine : Engine
    prompts : pandas.DataFrame
        The prompts table.
    games : sequence of str
        Games with a Nash action.
    prompts_per_game : int
    replacement : {"mean", "zero"}
        What replaces a head's output: its mean over all chosen prompts, whatever their game, label
        map and phase; or zero.
    group : int
        Number of heads in the candidate group.
    random_groups : int
        Number of random groups of the same size.
    seed : int
    model : str

    Returns
    -------
    pandas.DataFrame
        The heads table: one row per prompt and ablation.

    Raises
    ------
    DataError
        If a game has no prompt, none has a Nash action, or the model has too few heads.
    """
    chosen = choose_prompts(
        prompts, games, prompts_per_game, seed, "circuits prompts", key="circuits.games"
    )
    chosen = chosen[chosen["nash_action"].notna()].reset_index(drop=True)
    if chosen.empty:
        raise DataError(
            f"circuits.games: no prompt of {', '.join(games)} has a Nash action;"
            " choose games that have one"
        )
    chosen = chosen.assign(phase=match_phases(chosen))
    values = np.zeros((engine.n_layers, engine.n_heads, engine.head_dim), dtype=np.float32)
    if replacement == "mean":
        outputs = head_outputs(engine, [ids.tolist() for ids in chosen["token_ids"]])
        values = outputs.mean(axis=0)
    nothing: dict[str, list[Head]] = {"none": []}
    singles = {}
    for head in itertools.product(range(1, engine.n_layers + 1), range(engine.n_heads)):
        singles[_name(head)] = [head]
    choosing, testing = (chosen[chosen["phase"] == phase] for phase in PHASES)
    first = _ablations_table(engine, choosing, nothing | singles, values, "heads")
    drops = Ablations(first, "head").action_part()
    candidate = candidate_group(drops, engine.n_heads, group)
    rng = stream(seed, "random heads", model)
    others = control_groups(candidate, engine.n_heads, random_groups, rng)
    groups = {"candidate": candidate} | {f"random_{i:03d}": g for i, g in enumerate(others)}
    second = _ablations_table(engine, testing, nothing | groups, values, "groups of heads")
    table = pd.concat([first, second], ignore_index=True)
    table.insert(0, "model", model)
    return table


def _ablations_table(
    engine: Engine,
    chosen: pd.DataFrame,
    groups: dict[str, list[Head]],
    replacement: np.ndarray,
    what: str,
) -> pd.DataFrame:
    """Return rows of the table for some prompts and groups by name, the baseline first."""
    asked, heads = labelled_prompts(chosen), list(groups.values())
    logprobs = ablate_heads(engine, asked, heads, replacement, what=what)
    _, mass = label_probabilities(logprobs)
    # (prompts, groups): the logit of action 1, with the sign of the prompt's Nash action.
    odds = logprobs[..., 1] - logprobs[..., 0]
    nash = np.where(chosen["nash_action"].to_numpy(dtype=float) == 1, odds.T, -odds.T).T
    described = pd.DataFrame([_describe(name, group) for name, group in groups.items()])
    return prompts_by_interventions(
        chosen[[*PROMPT_COLUMNS, "phase"]],
        described.astype({"layer": "Int64", "head": "Int64"}),
        {"logit_nash": nash, "drop": nash[:, :1] - nash, "label_mass": mass},
    )


def _name(head: Head) -> str:
    return f"{head[0]}.{head[1]}"


def _describe(name: str, heads: list[Head]) -> dict[str, object]:
    """Return the columns that say what is ablated."""
    kind = name.partition("_")[0]
    single = kind not in ("none", "candidate", "random")
    return {
        "ablation": name,
        "kind": "head" if single else kind,
        "layer": heads[0][0] if single else pd.NA,
        "head": heads[0][1] if single else pd.NA,
        "heads": " ".join(_name(head) for head in heads),
    }
