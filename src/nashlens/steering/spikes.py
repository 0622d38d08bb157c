"""Spike-ins: a known effect put into a model, and whether the study's own claims find it.

- `override`: where Nash and prosocial action differ, every layer below l reads `s` logits more for
  Nash than the model's own, and layer l reads `s` logits more for the prosocial action. The blocks
  above run on.
- `word`: the same for the pair's first label against its second, whatever they mean. No claim about
  actions may be supported by it.
- `history`: after layer 1, `s` standard deviations along a random direction, signed by the
  opponent's last action. The layers above stay as they were: it is consumed.
- `nash_code`: after layer l, the same signed by the Nash action's label, along a random direction
  that changes no label's logit before the norm. It can be read, and nothing follows from it; the
  blocks above run on, and no claim about the lens may be supported by it.

A logit is what the lens reads there: the change is along the two labels' unembedding difference
times the final norm's weight, as long as it must be for the norm of the *changed* residual to give
`s` more (`engine.writing`), before any soft-cap.

Estimators and rules are those of the claims, before the correction over the family. Power is the
share of draws with the verdict that is wanted: for the lens, histories are drawn again, as many as
there are of each game, template and label set; for probes, a draw is a seed, of the random
direction and of the folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nashlens.engine.writing import Writing, residuals_under
from nashlens.findings.claims import CLAIMS
from nashlens.findings.judge import judge
from nashlens.interventions import WORDING
from nashlens.probes.design import ProbeSettings, usable
from nashlens.probes.study import fit_probes
from nashlens.seeds import stream
from nashlens.steering.conflicts import (
    Conflicts,
    LoadLayer,
    deviation,
    inert_direction,
    signs_of,
)
from nashlens.steering.spike_summary import NONE

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.models.weights import Readout

WANTED = {
    "override": {"M5": ("power", "supported"), "M6": ("power", "supported")},
    "word": {"M5": ("false", "supported"), "M6": ("false", "supported")},
    "history": {"M1": ("power", "supported"), "M2": ("power", "supported")},
    "nash_code": {
        "M3": ("power", "contradicted"),
        "M5": ("false", "supported"),
        "M6": ("false", "supported"),
    },
}
"""Spike -> claim -> whether the verdict counts as power or as a false finding, and the verdict."""
COLUMNS = (
    *("model", "spike", "layer", "strength", "unit", "claim", "counts", "wanted", "draw"),
    *("verdict", "estimate", "n", "n_matches"),
)
PROBED = {"history": "opponent_last", "nash_code": "nash_label"}


@dataclass(frozen=True)
class SpikeSettings:
    """How many spikes there are, and how they are judged."""

    games: Sequence[str]
    prompts: int
    """The largest number of prompts of a game."""
    layers: Sequence[int]
    logits: Sequence[float]
    """Strengths of override and word."""
    deviations: Sequence[float]
    """Strengths of history and Nash code, in standard deviations along the direction."""
    draws: int
    seeds: int
    model: str
    confidence: float
    resamples: int
    late_fraction: float
    min_label_mass: float
    seed: int

    def judged(self, tables: dict[str, pd.DataFrame], claims: Sequence[str]) -> pd.DataFrame:
        """Judge some claims of tables as the study does."""
        chosen = [claim for claim in CLAIMS if claim.id in claims]
        found = judge(
            tables,
            model=self.model,
            confidence=self.confidence,
            bootstrap=self.resamples,
            late_fraction=self.late_fraction,
            min_label_mass=self.min_label_mass,
            seed=self.seed,
            claims=chosen,
        )
        return found[["claim", "verdict", "estimate", "n", "n_matches"]]


def spike_table(
    engine: Engine,
    readout: Readout,
    load: LoadLayer,
    prompts: pd.DataFrame,
    probes: pd.DataFrame,
    settings: SpikeSettings,
    probe_settings: ProbeSettings,
) -> pd.DataFrame:
    """Put every spike into a model, and judge each draw.

    Parameters
    ----------
    engine : Engine
    readout : Readout
    load : callable
        The model's own residuals.
    prompts : DataFrame
        The prompts table.
    probes : DataFrame
        The study's probes; a spike replaces the row of its target and layer.
    settings : SpikeSettings
    probe_settings : ProbeSettings

    Returns
    -------
    DataFrame
        One row per spike, layer, strength, claim and draw, columns `COLUMNS`. Spike `none` is the
        model as it is.

    Raises
    ------
    DataError
        If a game has no conflict between Nash and prosocial action.
    """
    how = settings.games, settings.prompts, settings.seed
    conflicts = Conflicts(readout, load, engine.n_layers, prompts, *how)
    parts = [
        *_lens_spikes(engine, conflicts, settings),
        *_probe_spikes(load, conflicts.along, prompts, probes, settings, probe_settings),
    ]
    found = pd.concat(parts, ignore_index=True).assign(model=settings.model)
    return found.reindex(columns=list(COLUMNS))


def _described(spike: str, layer: int, strength: float, unit: str, claims: Any) -> pd.DataFrame:
    """Return one row for each claim that a spike is about."""
    return pd.DataFrame(
        [
            {"claim": claim, "counts": counts, "wanted": wanted}
            | {"spike": spike, "layer": layer, "strength": strength, "unit": unit}
            for claim, (counts, wanted) in claims.items()
        ]
    )


def _lens_spikes(
    engine: Engine,
    conflicts: Conflicts,
    settings: SpikeSettings,
) -> Iterator[pd.DataFrame]:
    """Yield the verdicts of M5 and M6, of the model as it is and under each spike."""
    spikes: list[tuple[str, int, float, str, tuple[Writing, ...]]] = []
    for layer in settings.layers:
        for strength in settings.logits:
            for name, signs in (("override", 1.0), ("word", conflicts.word)):
                sizes = np.broadcast_to(strength * signs, len(conflicts.ids))
                writing = conflicts.override(layer, sizes)
                spikes.append((name, layer, strength, "logits", writing))
        rng = stream(settings.seed, "spikes", "nash_code", layer)
        strength = max(settings.deviations)
        code = conflicts.code(layer, strength, rng)
        spikes.append(("nash_code", layer, strength, "standard deviations", (code,)))
    sequences = [ids.tolist() for ids in conflicts.prompts["token_ids"]]
    # A strength of 0 is the model as it is: nothing is run.
    changed = [k for k, spike in enumerate(spikes) if spike[2] != 0.0]
    writings = [spikes[k][-1] for k in changed]
    residuals = residuals_under(engine, sequences, writings, conflicts.readout.norm)
    place = {k: i for i, k in enumerate(changed)}
    own = conflicts.lens(None, settings.model)
    claims = WANTED["override"]
    yield _redrawn(conflicts.prompts, own, _described(NONE, 0, 0.0, "logits", claims), settings)
    for k, (name, layer, strength, unit, _) in enumerate(spikes):
        lens = conflicts.lens(residuals[:, place[k]], settings.model) if k in place else own
        about = {claim: how for claim, how in WANTED[name].items() if claim in claims}
        described = _described(name, layer, strength, unit, about)
        yield _redrawn(conflicts.prompts, lens, described, settings)


def _redrawn(
    prompts: pd.DataFrame, lens: pd.DataFrame, described: pd.DataFrame, settings: SpikeSettings
) -> pd.DataFrame:
    """Judge claims about the lens of histories drawn again."""
    lens = lens.set_index("prompt_id")
    parts = []
    for draw in range(settings.draws):
        # The same histories for every spike: their curves differ by the spike only.
        rng = stream(settings.seed, "spikes", "draw", draw)
        drawn = []
        # Each wording keeps as many histories as it has: an interval needs two of each.
        for _, rows in prompts.groupby(["game", *WORDING], sort=True):
            own = rows["match_id"].unique()
            for copy, match in enumerate(rng.choice(own, len(own))):
                one = rows[rows["match_id"] == match].copy()
                for name in ("prompt_id", "match_id", "scenario_id", "block_id"):
                    one[f"own_{name}"], one[name] = one[name], one[name] + f"/{copy}"
                drawn.append(one)
        table = pd.concat(drawn, ignore_index=True)
        ids = table[["own_prompt_id", "prompt_id", "match_id"]].set_index("own_prompt_id")
        read = ids.join(lens.drop(columns="match_id")).reset_index(drop=True)
        found = settings.judged({"prompts": table, "lens": read}, described["claim"].tolist())
        parts.append(described.merge(found, on="claim").assign(draw=draw))
    return pd.concat(parts, ignore_index=True)


def _probe_spikes(
    load: LoadLayer,
    along: np.ndarray,
    prompts: pd.DataFrame,
    probes: pd.DataFrame,
    settings: SpikeSettings,
    how: ProbeSettings,
) -> Iterator[pd.DataFrame]:
    """Yield the verdicts of M1, M2 and M3, of the model as it is and under each spike."""
    used = usable(prompts)
    ids = used["prompt_id"].tolist()
    tables = {"prompts": prompts, "probes": probes}
    for spike, target in PROBED.items():
        claims = {c: w for c, w in WANTED[spike].items() if w[0] == "power"}
        unit = "standard deviations"
        own = _described(NONE, 0, 0.0, unit, claims)
        yield own.merge(settings.judged(tables, list(claims)), on="claim").assign(draw=0)
        signs = signs_of(used[target])
        for layer in [1] if spike == "history" else settings.layers:
            residuals = np.asarray(load(layer, ids), dtype=np.float32)
            for seed in range(settings.seeds):
                rng = stream(settings.seed, "spikes", spike, layer, seed)
                # The history may lie anywhere; a Nash code must not be read by the unembedding.
                none = np.zeros((1, residuals.shape[1]))
                direction = inert_direction(along if spike == "nash_code" else none, rng)
                size = deviation(residuals, direction)
                for strength in settings.deviations:
                    shift = np.outer(strength * size * signs, direction).astype(np.float32)

                    def read(k: int, layer: int = layer, shift: np.ndarray = shift) -> np.ndarray:
                        values = np.asarray(load(k, ids), dtype=np.float32)
                        return values + shift if k == layer else values

                    seeded = replace(how, seed=how.seed + seed)
                    fitted = fit_probes(read, [layer], prompts, [target], seeded).probes
                    spliced = tables | {"probes": _spliced(probes, fitted)}
                    found = settings.judged(spliced, list(claims))
                    described = _described(spike, layer, strength, unit, claims)
                    yield described.merge(found, on="claim").assign(draw=seed)


def _spliced(probes: pd.DataFrame, fitted: pd.DataFrame) -> pd.DataFrame:
    """Return the study's probes with some rows replaced; random weights knew of no spike."""
    keys = ["position", "target", "split", "layer"]
    columns = [name for name in probes.columns if "random_weights" in name]
    known = probes.drop_duplicates(keys).set_index(keys)[columns]
    new = fitted.drop(columns=columns).join(known, on=keys)
    old = probes[~pd.MultiIndex.from_frame(probes[keys]).isin(pd.MultiIndex.from_frame(new[keys]))]
    return pd.concat([old, new.reindex(columns=probes.columns)], ignore_index=True)
