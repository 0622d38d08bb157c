"""What ablating heads and MLPs does to the Nash action's lead: every one, and chosen groups.

On some histories, every head and every MLP is ablated by itself. Those whose ablation costs the
Nash action the most there, by the action part of blocks, are a candidate group. Their joint
ablation is measured on the other histories, where components that were chosen by luck are not lucky
again. The control is random groups: as many other heads of each of the same layers, and as many
MLPs of layers nearby.

An *arm* is what is ablated, and where:

- heads, and MLPs, at the decision position;
- both together at all positions: at every token from the first one in which the prompts differ.
  What comes before is the same in all, and can hold nothing about a game. There each component's
  effect is the first-order estimate of one backward pass (`engine.gradients`), since a run for each
  would cost half a forward pass of the whole prompt; groups are ablated exactly.

A component's output is replaced by its mean over the prompts that choose, at the decision and at
the tokens before it apart, or by zero. Over games, seats and label maps in equal parts the mean
holds nothing of any one game's answer, while what a component brings to every decision stays (Wang
et al. 2022, arXiv:2211.00593).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from nashlens.circuits.candidates import (
    candidate_group,
    candidate_mlps,
    components,
    control_groups,
    control_mlps,
    site_name,
)
from nashlens.circuits.phases import everywhere_rows, match_phases
from nashlens.circuits.readings import Ablations
from nashlens.engine.forest import shared_prefix
from nashlens.engine.gradients import attribution_patching
from nashlens.engine.labels import LabelledPrompt, label_probabilities, labelled_prompts
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.engine.recording import Place, Recorded, record
from nashlens.errors import DataError
from nashlens.interventions import PROMPT_COLUMNS, choose_prompts, prompts_by_interventions
from nashlens.seeds import stream
from nashlens.vocabulary.positions import DECISION

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

ALL = "all"
"""Positions: every token from the first one in which the prompts differ."""
_RECORDED_AT_ONCE = 2  # prompts, whose values at all tokens are in memory
_EARLIER, _LAST = 0, 1  # rows of what replaces a component's output: before the decision, and there


class Sizes(NamedTuple):
    """How many components are ablated together, and how many random groups there are."""

    heads: int
    mlps: int
    random: int


class Everywhere(NamedTuple):
    """What is ablated at all positions."""

    prompts: int
    """Prompts of each game that test, one block of each history in turn; half as many choose."""
    random_groups: int


class _Arm(NamedTuple):
    component: Literal["head", "mlp", "both"]
    positions: str
    groups: dict[str, list[Site]]
    """Candidate and random groups by name."""


def heads_table(
    engine: Engine,
    prompts: pd.DataFrame,
    *,
    games: Sequence[str],
    prompts_per_game: int,
    replacement: Literal["mean", "zero"],
    group: int,
    mlps: int,
    random_groups: int,
    everywhere: Mapping[str, int] | None,
    seed: int,
    model: str,
) -> pd.DataFrame:
    """Ablate every head and MLP, the candidate groups, and random groups.

    Parameters
    ----------
    engine : Engine
    prompts : pandas.DataFrame
        The prompts table.
    games : sequence of str
        Games with a Nash action.
    prompts_per_game : int
    replacement : {"mean", "zero"}
        What replaces a component's output: its mean over all prompts that choose, whatever their
        game and label map; or zero.
    group, mlps : int
        Number of heads, and of MLPs, in a candidate group.
    random_groups : int
        Number of random groups of the same size.
    everywhere : mapping, optional
        The fields of `Everywhere`; None ablates nothing at all positions.
    seed : int
    model : str

    Returns
    -------
    pandas.DataFrame
        The heads table: one row per prompt and ablation.

    Raises
    ------
    DataError
        If a game has no prompt, none has a Nash action, or the model has too few components.
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
    chosen = chosen.assign(phase=match_phases(chosen), everywhere=False)
    if everywhere is not None:
        chosen["everywhere"] = everywhere_rows(chosen, Everywhere(**everywhere).prompts)
    study = _Study(engine, chosen, replacement)
    singles = components(engine.n_layers, engine.n_heads)
    tables = [study.every(singles)]
    if everywhere is not None:
        tables.append(study.screened(singles))
    sizes = Sizes(group, mlps, random_groups)
    arms = _arms(engine, tables, sizes, stream(seed, "random heads", model))
    if everywhere is not None:
        few = sizes._replace(random=Everywhere(**everywhere).random_groups)
        arms.append(_everywhere(engine, tables[1], few, stream(seed, "random components", model)))
    table = pd.concat([*tables, *study.tested(arms)], ignore_index=True)
    table.insert(0, "model", model)
    return table


def _arms(
    engine: Engine, tables: Sequence[pd.DataFrame], sizes: Sizes, rng: np.random.Generator
) -> list[_Arm]:
    """Choose the groups at the decision, of heads and of MLPs."""
    found = _costliest(engine, tables[0], sizes)
    others = _others(engine, found, sizes.random, rng)
    return [_Arm(kind, DECISION, _named(found[kind], others[kind])) for kind in ("head", "mlp")]


def _everywhere(
    engine: Engine, table: pd.DataFrame, sizes: Sizes, rng: np.random.Generator
) -> _Arm:
    """Choose the groups at all positions, of heads and MLPs together."""
    found = _costliest(engine, table, sizes)
    others = _others(engine, found, sizes.random, rng)
    both = [a + b for a, b in zip(others["head"], others["mlp"], strict=False)]
    return _Arm("both", ALL, _named(found["head"] + found["mlp"], both))


def _costliest(engine: Engine, table: pd.DataFrame, sizes: Sizes) -> dict[str, list[Site]]:
    """Return the candidates of each kind by the effects of single components."""
    heads, mlps = (Ablations(table, kind).action_part() for kind in ("head", "mlp"))
    group = candidate_group(heads, engine.n_heads, sizes.heads)
    return {
        "head": [Site("head", layer, head) for layer, head in group],
        "mlp": [Site("mlp", layer) for layer in candidate_mlps(mlps, sizes.mlps)],
    }


def _others(
    engine: Engine, found: Mapping[str, Sequence[Site]], count: int, rng: np.random.Generator
) -> dict[str, list[list[Site]]]:
    """Return random groups of each kind."""
    heads = [(site.layer, site.head) for site in found["head"]]
    layers = [site.layer for site in found["mlp"]]
    return {
        "head": [
            [Site("head", layer, head) for layer, head in group]
            for group in control_groups(heads, engine.n_heads, count, rng)
        ],
        "mlp": [
            [Site("mlp", layer) for layer in group]
            for group in control_mlps(layers, engine.n_layers, count, rng)
        ],
    }


def _named(candidate: list[Site], others: Sequence[list[Site]]) -> dict[str, list[Site]]:
    return {"candidate": candidate} | {f"random_{i:03d}": one for i, one in enumerate(others)}


class _Study:
    """Ablations of some prompts, and what replaces outputs in them."""

    def __init__(self, engine: Engine, chosen: pd.DataFrame, replacement: str):
        self._engine, self._chosen = engine, chosen
        self._own = pd.Series(dtype=object)  # scores of prompts that choose, with nothing ablated
        ids = [one.tolist() for one in chosen["token_ids"]]
        # What all prompts begin with can hold nothing about a game.
        shared = min(shared_prefix(np.array(ids[0]), np.array(one)) for one in ids)
        self._first = min(shared, *(len(one) - 1 for one in ids))
        choosing = [
            one for one, phase in zip(ids, chosen["phase"], strict=True) if phase == "choose"
        ]
        self._values = self._constants(choosing, replacement)

    def _constants(
        self, sequences: Sequence[Sequence[int]], replacement: str
    ) -> dict[Place, torch.Tensor]:
        """Return what replaces outputs before the decision and there, `(parts, 2, size)`."""
        engine, earlier = self._engine, bool(self._chosen["everywhere"].any())
        sizes = {"head": (engine.n_heads, engine.head_dim), "mlp": (1, engine.width)}
        sums = {
            (kind, layer): torch.zeros(parts, 2, size, dtype=torch.float64)
            for layer in range(1, engine.n_layers + 1)
            for kind, (parts, size) in sizes.items()
        }
        counts = torch.zeros(2, dtype=torch.float64)
        step = _RECORDED_AT_ONCE if earlier else len(sequences)
        for start in range(0, len(sequences) if replacement == "mean" else 0, step):
            some = sequences[start : start + step]
            firsts = [self._first if earlier else len(ids) - 1 for ids in some]
            tokens = [range(k, len(ids)) for k, ids in zip(firsts, some, strict=True)]
            found = record(engine, some, tokens, set(sums))
            last = np.array([rows[-1] for rows in found.rows])
            # Tokens that prompts share are counted for each of them.
            before = np.concatenate(
                [r[t.start : -1] for r, t in zip(found.rows, tokens, strict=True)]
            )
            for place, values in found.values.items():
                for row, which in ((_EARLIER, before), (_LAST, last)):
                    at = torch.from_numpy(which).to(values.device)
                    sums[place][:, row] += values[:, at].double().sum(dim=1).cpu()
            counts += torch.tensor([len(before), len(last)])
        number = counts.clamp(min=1.0)[:, None]
        return {place: (total / number).float() for place, total in sums.items()}

    def every(self, singles: Mapping[str, Sequence[Site]]) -> pd.DataFrame:
        """Return rows of single components that are ablated at the decision."""
        rows = self._chosen[self._chosen["phase"] == "choose"]
        sites = [site for some in singles.values() for site in some]
        changes = [Change((), DECISION), *(Change((site,), DECISION) for site in sites)]
        logprobs = self._scores(rows, changes, "heads and MLPs")
        self._own = pd.Series(list(logprobs[:, :1]), index=rows.index)
        described = [_nothing(DECISION), *(_single(site, DECISION, "exact") for site in sites)]
        return _rows(rows, described, logprobs)

    def screened(self, singles: Mapping[str, Sequence[Site]]) -> pd.DataFrame:
        """Return rows of single components at all positions, by their gradients; after `every`."""
        rows = self._chosen[(self._chosen["phase"] == "choose") & self._chosen["everywhere"]]
        sites = [site for some in singles.values() for site in some]
        asked = labelled_prompts(rows)
        changes = [Change((site,), ALL) for site in sites]
        grown = attribution_patching(
            self._engine,
            asked,
            changes,
            groups=self._groups(rows, asked),
            given=self._given(asked),
            what="gradients",
        )
        logprobs = np.stack(self._own.loc[rows.index].to_list())
        odds = logprobs[..., 1] - logprobs[..., 0]
        described = [_nothing(ALL), *(_single(site, ALL, "gradient") for site in sites)]
        drops = np.hstack([np.zeros_like(odds), grown])
        mass = label_probabilities(logprobs)[1]
        masses = np.hstack([mass, np.full_like(grown, np.nan)])
        return _laid_out(rows, described, odds + drops, masses)

    def tested(self, arms: Sequence[_Arm]) -> list[pd.DataFrame]:
        """Return rows of groups, on the histories that test: a table an arm."""
        rows = self._chosen[self._chosen["phase"] == "test"]
        changes, described = [Change((), DECISION)], []
        for arm in arms:
            changes += [Change(tuple(group), arm.positions) for group in arm.groups.values()]
            described.append([_nothing(arm.positions), *_groups(arm)])
        logprobs, tables, start = self._scores(rows, changes, "groups"), [], 1
        places = set()
        for arm, some in zip(arms, described, strict=True):
            columns = [0, *range(start, start + len(arm.groups))]
            start += len(arm.groups)
            # One baseline for all arms at the same positions.
            if arm.positions in places:
                columns, some = columns[1:], some[1:]
            places.add(arm.positions)
            mine = rows["everywhere"].to_numpy(bool) | (arm.positions == DECISION)
            own = logprobs[mine][:, :1]
            tables.append(_rows(rows[mine], some, logprobs[mine][:, columns], own))
        return tables

    def _scores(
        self, rows: pd.DataFrame, changes: Sequence[Change], what: str | None = None
    ) -> np.ndarray:
        """Return log P of both labels, `(n, changes, 2)`."""
        asked = labelled_prompts(rows)
        groups, given = self._groups(rows, asked), self._given(asked)
        return patch_scores(self._engine, asked, changes, groups=groups, given=given, what=what)

    def _groups(
        self, rows: pd.DataFrame, asked: Sequence[LabelledPrompt]
    ) -> list[dict[str, Sequence[int]]]:
        """Return the tokens of both positions; none at all positions where they are not asked."""
        first = self._first
        return [
            {DECISION: [len(one.ids) - 1], ALL: range(first, len(one.ids)) if wide else ()}
            for one, wide in zip(asked, rows["everywhere"], strict=True)
        ]

    def _given(self, asked: Sequence[LabelledPrompt]) -> Recorded:
        rows = [np.full(len(one.ids), _EARLIER) for one in asked]
        for row in rows:
            row[-1] = _LAST
        return Recorded(self._values, rows)


def _nothing(positions: str) -> dict[str, object]:
    return _described("none", "none", "", positions, "exact", [])


def _single(site: Site, positions: str, method: str) -> dict[str, object]:
    row = _described(site_name(site), site.kind, site.kind, positions, method, [site])
    return row | {"layer": site.layer, "head": site.head if site.kind == "head" else pd.NA}


def _groups(arm: _Arm) -> list[dict[str, object]]:
    return [
        _described(name, name.partition("_")[0], arm.component, arm.positions, "exact", group)
        for name, group in arm.groups.items()
    ]


def _described(
    ablation: str, kind: str, component: str, positions: str, method: str, sites: Sequence[Site]
) -> dict[str, object]:
    """Return the columns that say what is ablated."""
    return {
        "ablation": ablation,
        "kind": kind,
        "component": component,
        "positions": positions,
        "method": method,
        "layer": pd.NA,
        "head": pd.NA,
        "heads": " ".join(map(site_name, sites)),
    }


def _rows(
    prompts: pd.DataFrame,
    described: Sequence[dict[str, object]],
    logprobs: np.ndarray,
    unchanged: np.ndarray | None = None,
) -> pd.DataFrame:
    """Lay out scores `(n, ablations, 2)`, those with nothing ablated first or apart."""
    odds = logprobs[..., 1] - logprobs[..., 0]
    before = odds[:, :1] if unchanged is None else unchanged[..., 1] - unchanged[..., 0]
    return _laid_out(prompts, described, odds, label_probabilities(logprobs)[1], before)


def _laid_out(
    prompts: pd.DataFrame,
    described: Sequence[dict[str, object]],
    odds: np.ndarray,
    mass: np.ndarray,
    before: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return rows of the table from logits of action 1 over action 0, `(n, ablations)`."""
    sign = np.where(prompts["nash_action"].to_numpy(dtype=float) == 1, 1.0, -1.0)[:, None]
    lead = sign * (odds[:, :1] if before is None else before)
    what = pd.DataFrame(described).astype({"layer": "Int64", "head": "Int64"})
    scores = {"logit_nash": sign * odds, "drop": lead - sign * odds, "label_mass": mass}
    return prompts_by_interventions(prompts[[*PROMPT_COLUMNS, "phase"]], what, scores)
