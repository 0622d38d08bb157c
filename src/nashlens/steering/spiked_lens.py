"""Spikes that the lens must tell apart: put into a few prompts, and judged on all of the study's.

What a spike changes at each layer, in the labels' logits and in their mass, is measured on the
prompts that are run (`Conflicts`), and added to what the study's own lens reads of every prompt: of
those that were run their own change, of any other block that of a run block, drawn at random, in
the same cell (the Nash action's label and place). So the verdict rests on as many histories as the
study has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.chunks import each
from nashlens.engine.writing import Writing, residuals_under
from nashlens.findings.claim import Missing, decide
from nashlens.findings.claims import m5_nash_favoured, m6_late_override
from nashlens.interventions import WORDING
from nashlens.lens.readings import LensShift
from nashlens.seeds import stream
from nashlens.steering.conflicts import Conflicts

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.findings.claim import Claim, Evidence, JudgeSettings
    from nashlens.lens.readings import Readings

LENS_CLAIMS: dict[str, Any] = {"M5": m5_nash_favoured, "M6": m6_late_override}
"""Claims about the lens, and their modules."""


class Spike(NamedTuple):
    """What was put in, where, and how strong."""

    spike: str
    layer: int
    strength: float
    unit: str


class LensSpike(NamedTuple):
    """A spike, and what writes it; nothing where its strength is 0."""

    spike: Spike
    writings: tuple[Writing, ...]


class SpikeVerdict(NamedTuple):
    """What a claim says of one draw."""

    claim: str
    draw: int
    verdict: str
    estimate: float
    n: int
    n_matches: int

    @classmethod
    def of(cls, claim: Claim[Any], draw: int, found: Evidence | Missing) -> SpikeVerdict:
        """Decide a claim from what was found in a draw."""
        verdict = decide(claim, found).verdict
        if isinstance(found, Missing):
            return cls(claim.id, draw, verdict, np.nan, 0, 0)
        return cls(claim.id, draw, verdict, found.estimate, found.n, found.n_matches)


class LensEffects(NamedTuple):
    """What spikes change of the lens where they are run; exactly 0 for one of strength 0."""

    towards_nash: np.ndarray
    """`(n, spikes, layers + 1)`: logits towards the Nash action."""
    mass: np.ndarray
    """The same shape: growth of the label mass's log-odds."""


def lens_effects(engine: Engine, conflicts: Conflicts, spikes: Sequence[LensSpike]) -> LensEffects:
    """Return what each spike changes of the lens at each layer, where it is run."""
    shape = (len(conflicts.ids), len(spikes), engine.n_layers + 1)
    effects = LensEffects(np.zeros(shape), np.zeros(shape))
    run = [k for k, spike in enumerate(spikes) if spike.writings]
    if run:
        sequences = [ids.tolist() for ids in conflicts.prompts["token_ids"]]
        writings = [spikes[k].writings for k in run]
        residuals = residuals_under(engine, sequences, writings, conflicts.readout.norm)
        effects.towards_nash[:, run] = conflicts.effects(residuals)
        effects.mass[:, run] = conflicts.mass_effects(residuals, engine.blocks)
    return effects


class SpikedReadings:
    """What M5 and M6 read of the study's prompts, with each spike's effect on it.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `prompts` (kept, neutral) and `lens` of the study.
    run : DataFrame
        The prompts that were run.
    effects : LensEffects
    spikes : sequence of Spike
    settings : JudgeSettings
    draws : int
        How often histories are drawn again.
    """

    def __init__(
        self,
        tables: dict[str, pd.DataFrame],
        run: pd.DataFrame,
        effects: LensEffects,
        spikes: Sequence[Spike],
        settings: JudgeSettings,
        draws: int,
    ):
        self._settings, self._spikes, self._draws = settings, spikes, draws
        self._readings = {name: of.read(tables) for name, of in LENS_CLAIMS.items()}
        self._blocks = pd.Index(run["block_id"].unique())
        where = self._blocks.get_indexer(run["block_id"]), _cells(run)
        # (blocks, cells, spikes, layers + 1)
        shape = (len(self._blocks), 4, *effects.mass.shape[1:])
        self._effects = LensEffects(np.zeros(shape), np.zeros(shape))
        for mine, given in zip(self._effects, effects, strict=True):
            mine[where] = given

    def verdicts(self) -> Iterator[tuple[int, SpikeVerdict]]:
        """Yield the verdicts of each spike by its number; -1 is the model as it is."""
        for claim, readings in self._readings.items():
            if readings.problem("") is not None:
                continue
            donors = self._donors(readings.prompts)
            shifts = [self._shift(readings, donors, k) for k in range(len(self._spikes))]
            judge = partial(self._judged, claim, readings, shifts)
            for found in each(range(self._draws), judge, f"draws of {claim}"):
                for k, verdict in zip(range(-1, len(shifts)), found, strict=True):
                    yield k, SpikeVerdict(*verdict)

    def _judged(
        self, claim: str, readings: Readings, shifts: Sequence[LensShift], draw: int
    ) -> list[SpikeVerdict]:
        """Return the verdicts of one draw: of the model as it is, then of each spike."""
        # The same histories for every spike: verdicts differ by the spike only.
        rng = stream(self._settings.seed, "spikes", "draw", claim, draw)
        rows, names = drawn_again(readings.prompts, rng)
        drawn = readings.drawn(rows, names)
        spiked = (self._verdict(claim, draw, drawn.shifted(shift.on(rows))) for shift in shifts)
        return [self._verdict(claim, draw, drawn), *spiked]

    def _verdict(self, claim: str, draw: int, readings: Readings) -> SpikeVerdict:
        module = LENS_CLAIMS[claim]
        return SpikeVerdict.of(module.CLAIM, draw, module.from_readings(readings, self._settings))

    def _donors(self, prompts: pd.DataFrame) -> np.ndarray:
        """Return each prompt's own run block, or one drawn for its block, `(n,)`."""
        seed, runs = self._settings.seed, len(self._blocks)
        donors = {
            name: int(stream(seed, "spikes", "donor", name).integers(runs)) if i < 0 else int(i)
            for name in prompts["block_id"].unique()
            for i in self._blocks.get_indexer([name])
        }
        return prompts["block_id"].map(donors).to_numpy(int)

    def _shift(self, readings: Readings, donors: np.ndarray, number: int) -> LensShift:
        """Return what a spike adds to each reading."""
        prompts, spike = readings.prompts, self._spikes[number]
        towards_nash, mass = (
            effect[donors, _cells(prompts), number][:, readings.layers] for effect in self._effects
        )
        if spike.spike == "override":
            # Only where there is a conflict does the answer turn.
            turns = (prompts["prosocial_action"] != prompts["nash_action"]).fillna(False)
            as_before = np.ix_(~turns.to_numpy(bool), readings.layers >= spike.layer)
            towards_nash[as_before] = mass[as_before] = 0.0
        signs = np.where(prompts["nash_action"].to_numpy(int) == 1, 1.0, -1.0)
        return LensShift(signs[:, None] * towards_nash, mass)


def _cells(prompts: pd.DataFrame) -> np.ndarray:
    """Return each prompt's cell of its block, 0 to 3: the Nash action's label and place."""
    return np.asarray(2 * prompts["nash_label"].to_numpy(int) + prompts["nash_place"].to_numpy(int))


def drawn_again(prompts: pd.DataFrame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many histories as each game and wording has; return rows and names for them."""
    rows: list[np.ndarray] = []
    names: list[np.ndarray] = []
    numbers = pd.Series(np.arange(len(prompts)))
    for _, here in numbers.groupby([prompts[name] for name in ("game", *WORDING)], sort=True):
        of_match = [some.to_numpy() for _, some in here.groupby(prompts["match_id"])]
        for copy, k in enumerate(rng.integers(len(of_match), size=len(of_match))):
            rows.append(of_match[k])
            names.append(np.full(len(of_match[k]), f"/{copy}"))
    return np.concatenate(rows), np.concatenate(names)
