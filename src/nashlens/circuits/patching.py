"""Activation patching: what values of one prompt of a pair do in the other.

The prompts of a pair differ in one thing and are aligned token by token (`nashlens.prompts.pairs`).
At a site (the residual after a layer, what its attention or MLP adds, or one head) and a group of
tokens, one prompt gets the values of the other. As far as its answer then becomes the other's, what
the two differ in passes through there (Vig et al. 2020, arXiv:2004.12265; Meng et al. 2022,
arXiv:2202.05262).

`destroy` puts the counterfactual prompt's values into the design's own, `restore` the other way
round. Pairs of label maps and of option orders have both prompts in their block, so that one
direction is all there is.

Exact patching costs a part of a forward pass for each patch. With a screen, each is estimated by
gradients first, and those that seem to do the most are patched (`nashlens.circuits.screen`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from nashlens.circuits.patches import main_part
from nashlens.circuits.paths import Paths
from nashlens.circuits.screen import EVERY, choose_patches
from nashlens.engine.gradients import attribution_patching
from nashlens.engine.labels import label_probabilities, labelled_prompts
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.interventions import PROMPT_COLUMNS, choose_prompts, prompts_by_interventions
from nashlens.kept import kept
from nashlens.prompts.groups import group_indices
from nashlens.seeds import stream

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

PAIR_COLUMNS = (
    *("pair_id", "kind", *PROMPT_COLUMNS),
    *("source_nash_action", "opponent_last", "source_opponent_last"),
)
"""Columns of the pairs table that the patching table repeats."""
IN_BLOCK = ("labels", "order")
"""Kinds of pairs whose two prompts are in one block."""
_INTEGERS = dict.fromkeys(("layer", "head"), "Int64")
_SCORES = ("logit", "total", "effect", "screened", "label_mass")


class Patch(NamedTuple):
    """What is patched together."""

    site: str
    """`residual`, `attention`, `mlp` or `head`."""
    layer: int
    head: int
    """Which head of the layer, from 0; -1 where it is no head."""
    group: str

    @property
    def change(self) -> Change:
        """What the engine is asked for."""
        return Change((Site(self.site, self.layer, self.head),), self.group, "source")


def patching_table(
    engine: Engine,
    pairs: pd.DataFrame,
    *,
    games: Sequence[str],
    kinds: Sequence[str],
    pairs_per_game: int,
    directions: Sequence[str],
    sites: Sequence[str],
    layers: Sequence[int],
    groups: Sequence[str],
    heads: Sequence[str],
    paths: Sequence[str],
    screen: int | None,
    seed: int,
    model: str,
) -> pd.DataFrame:
    """Patch sites and groups of tokens of some pairs.

    Parameters
    ----------
    engine : Engine
    pairs : pandas.DataFrame
        The pairs table.
    games, kinds : sequence of str
    pairs_per_game : int
        Pairs of each kind and game, at most, in whole blocks.
    directions : sequence of {"destroy", "restore"}
    sites : sequence of {"residual", "attention", "mlp"}
    layers : sequence of int
        Blocks, from 1. The residual is also patched at layer 0, the embedding.
    groups : sequence of str
        Groups of tokens, see `nashlens.prompts.groups.group_indices`. One that no prompt of a kind
        has is left out there: `rounds`, where decisions are asked in the first one.
    heads : sequence of str
        Groups of tokens at which every head of these layers is patched by itself.
    paths : sequence of str
        Sender/receiver/group, see `nashlens.vocabulary.patching.path_parts`: each is patched as
        well, and never screened.
    screen : int, optional
        Every patch is estimated by its gradient, and so many are patched exactly, with a few
        others (see `nashlens.circuits.screen`). None patches all exactly, and estimates none.
    seed : int
    model : str

    Returns
    -------
    pandas.DataFrame
        The patching table: one row per pair, direction and patch. `logit` is the answer of the
        prompt that is patched (action 1 over action 0), `total` what the other prompt's answer is
        more, in the same labels, `effect` what the patch adds, and `screened` its estimate by the
        gradient. `chosen` says why a patch is exact (`nashlens.circuits.screen.REASONS`); of one
        that is not, `effect` is missing. A patch that can change nothing, as the two prompts do not
        differ up to its last token, is not computed: its effect is 0. Without a pair that is
        aligned the table is empty.

    Raises
    ------
    DataError
        With a screen or paths, if devices share the heads; if the model lacks a path.
    """
    wanted = Paths(paths)
    wanted.check(engine)
    arms = []
    for kind in kinds:
        chosen = choose_pairs(pairs, kind, kinds, games, pairs_per_game, seed)
        held = [_held(chosen["groups"], names) for names in (groups, heads)]
        patches = list(all_patches(engine.n_heads, layers, sites, *held))
        routes = wanted.among(_held(chosen["groups"], wanted.groups))
        for direction in directions_of(kind, directions) if len(chosen) else ():
            arms.append(_Arm(kind, direction, chosen, patches, routes))
    why: Mapping[Patch, str] | None = None
    if screen is not None:
        for arm in arms:
            arm.screen(engine)
        sizes = [arm.sizes() for arm in arms]
        why = choose_patches(sizes, screen, stream(seed, "patching screen", model))
    tables = [arm.table(engine, why) for arm in arms]
    columns = [*PAIR_COLUMNS, "direction", "patch", *Patch._fields, "chosen", *_SCORES]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    table.insert(0, "model", model)
    return table.astype(_INTEGERS)


def directions_of(kind: str, directions: Sequence[str]) -> Sequence[str]:
    """Return those directions in which pairs of a kind are patched."""
    return ["destroy"] if kind in IN_BLOCK else directions


def choose_pairs(
    pairs: pd.DataFrame,
    kind: str,
    kinds: Sequence[str],
    games: Sequence[str],
    per_game: int,
    seed: int,
) -> pd.DataFrame:
    """Choose the pairs of one kind: whole blocks, if they can be the same ones for all kinds.

    A history's block is taken with that of its mirror image (see `choose_prompts`).

    Parameters
    ----------
    pairs : pandas.DataFrame
        The pairs table.
    kind : str
    kinds : sequence of str
        All that are patched.
    games : sequence of str
    per_game : int
    seed : int

    Returns
    -------
    pandas.DataFrame
        Rows of `pairs`; none of a game in which no whole block is aligned.
    """
    used = kept(pairs[pairs["game"].isin(games)])
    whole = {}
    for one in kinds:
        rows = used[used["kind"] == one]
        size = rows.groupby("block_id")["prompt_id"].transform("nunique")
        whole[one] = rows[size == _cells(pairs)]
    here, chosen = whole[kind], []
    for game, rows in here.groupby("game", sort=False):
        others = [frame[frame["game"] == game]["block_id"] for frame in whole.values()]
        shared = set(rows["block_id"]).intersection(*(set(ids) for ids in others if len(ids)))
        some = rows[rows["block_id"].isin(shared)] if shared else rows
        key = "patching.games"
        chosen.append(choose_prompts(some, [str(game)], per_game, seed, "patching pairs", key=key))
    return pd.concat(chosen, ignore_index=True) if chosen else here


def _cells(pairs: pd.DataFrame) -> int:
    """Return the number of prompts of a whole block."""
    return len(pairs[["label_map", "option_order"]].drop_duplicates())


def all_patches(
    n_heads: int,
    layers: Sequence[int],
    sites: Sequence[str],
    groups: Sequence[str],
    heads: Sequence[str],
) -> Iterator[Patch]:
    """Yield every patch of `patching_table`: each site and layer by group, then head by head."""
    for site in sites:
        for layer in [0, *layers] if site == "residual" else layers:
            yield from (Patch(site, layer, -1, group) for group in groups)
    for layer in layers:
        for head in range(n_heads):
            yield from (Patch("head", layer, head, group) for group in heads)


def _held(prompts: pd.Series, groups: Sequence[str]) -> list[str]:
    """Return those groups that some prompt has, by the group of each of its tokens."""
    found = [group_indices(list(of_tokens), groups) for of_tokens in prompts]
    return [name for name in groups if any(tokens[name] for tokens in found)]


class _Arm:
    """Pairs of one kind, patched in one direction."""

    def __init__(
        self,
        kind: str,
        direction: str,
        chosen: pd.DataFrame,
        patches: Sequence[Patch],
        paths: Paths,
    ):
        self._chosen, self._patches, self._paths = chosen, patches, paths
        self._kind, self._direction = kind, direction
        self._what = f"{kind}, {direction}"
        columns = ("ids", "source_ids") if direction == "destroy" else ("source_ids", "ids")
        self._prompts, self._others = (labelled_prompts(chosen, name) for name in columns)
        self._source = [list(prompt.ids) for prompt in self._others]
        of_patches = [patch.group for patch in patches]
        names = list(dict.fromkeys(["decision", *of_patches, *paths.groups]))
        self._groups = [group_indices(list(of_tokens), names) for of_tokens in chosen["groups"]]
        into = [list(prompt.ids) for prompt in self._prompts]
        senders = [Patch(*path.sender, path.group) for path in paths.paths]
        self._changing, self._sending = (
            np.array(
                [can_change(one, self._groups, into, self._source) for one in some], dtype=bool
            )
            for some in (patches, senders)
        )
        self._screened = np.full((len(chosen), len(patches)), np.nan)

    def screen(self, engine: Engine) -> None:
        """Estimate what each patch adds to the answer."""
        self._screened[:, ~self._changing] = 0.0
        self._screened[:, self._changing] = attribution_patching(
            engine,
            self._prompts,
            [self._patches[k].change for k in np.flatnonzero(self._changing).tolist()],
            groups=self._groups,
            sources=self._source,
            what=f"gradients: {self._what}",
        )

    def sizes(self) -> dict[Patch, float]:
        """Return the size of each patch's estimated effect, of those that can change anything."""
        means = main_part(self._chosen, self._kind, self._screened)
        found = zip(self._patches, means, self._changing, strict=True)
        return {patch: abs(float(mean)) for patch, mean, changing in found if changing}

    def table(self, engine: Engine, why: Mapping[Patch, str] | None) -> pd.DataFrame:
        """Return rows of the patching table, of what was chosen; None chooses all."""
        reasons = [EVERY if why is None else why.get(patch, "") for patch in self._patches]
        wanted = np.array([bool(reason) for reason in reasons]) & self._changing
        logits, mass = self._exact(engine, np.flatnonzero(wanted).tolist())
        effect = np.zeros_like(self._screened)
        masses = np.repeat(mass[:, :1], len(self._patches), axis=1)
        effect[:, wanted], masses[:, wanted] = logits[:, 2:] - logits[:, :1], mass[:, 2:]
        for unknown in (effect, masses):
            unknown[:, self._changing & ~wanted] = np.nan
        routed = self._paths.scores(
            engine, self._prompts, self._groups, self._source, f"paths: {self._what}"
        )
        along = (routed[..., 1] - routed[..., 0] - logits[:, :1]) * self._sending
        rows = [
            (patch_name(patch), *patch, reason)
            for patch, reason in zip(self._patches, reasons, strict=True)
        ]
        rows += [(*path, EVERY) for path in self._paths.described()]
        described = pd.DataFrame(rows, columns=["patch", *Patch._fields, "chosen"])
        own = self._chosen[list(PAIR_COLUMNS)].assign(
            direction=self._direction, logit=logits[:, 0], total=logits[:, 1] - logits[:, 0]
        )
        scores = {
            "effect": np.hstack([effect, along]),
            "screened": np.hstack([self._screened, np.full_like(along, np.nan)]),
            "label_mass": np.hstack([masses, label_probabilities(routed)[1]]),
        }
        return prompts_by_interventions(own, described, scores)

    def _exact(self, engine: Engine, which: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return answers and label masses: of the prompt, of the other one, with each patch."""
        # The last layer's residual at the decision is the other prompt's answer.
        whole = Patch("residual", engine.n_layers, -1, "decision").change
        changes = [Change((), "decision"), whole, *(self._patches[k].change for k in which)]
        logprobs = patch_scores(
            engine,
            self._prompts,
            changes,
            groups=self._groups,
            sources=self._source,
            what=f"pairs: {self._what}",
        )
        logits = logprobs[..., 1] - logprobs[..., 0]
        if any(len(label) > 1 for prompt in self._prompts for label in prompt.labels):
            # Later tokens of a label see the prompt itself, so that is asked by itself.
            theirs = engine.label_logprobs(self._others)
            logits[:, 1] = theirs[:, 1] - theirs[:, 0]
        return logits, label_probabilities(logprobs)[1]


def can_change(
    patch: Patch,
    groups: Sequence[dict[str, list[int]]],
    into: Sequence[list[int]],
    source: Sequence[list[int]],
) -> bool:
    """Say whether the values of any pair's two prompts can differ where a patch replaces them."""
    for of_prompt, ids, other in zip(groups, into, source, strict=True):
        tokens = of_prompt[patch.group]
        if patch.site == "residual" and patch.layer == 0:
            if any(ids[k] != other[k] for k in tokens):
                return True
        elif tokens:
            first = next(k for k, (a, b) in enumerate(zip(ids, other, strict=True)) if a != b)
            if max(tokens) >= first:
                return True
    return False


def patch_name(patch: Patch) -> str:
    """Return a patch in one word: site/layer/group, or head/layer.head/group."""
    place = f"{patch.layer}.{patch.head}" if patch.site == "head" else f"{patch.layer}"
    return f"{patch.site}/{place}/{patch.group}"
