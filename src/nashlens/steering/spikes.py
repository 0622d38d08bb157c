"""Spike-ins: a known effect put into a model, and whether the study's own claims find it.

- `override`: where Nash and prosocial action differ, every layer below l reads `s` logits more for
  Nash than the model's own, and layer l reads `s` logits more for the prosocial action. The blocks
  above run on.
- `word`: the same for the pair's first label against its second, whatever they mean. No claim about
  actions may be supported by it.
- `history`: after layer 1, `s` standard deviations along a random direction, signed by the
  opponent's last action. The layers above stay as they were: it is consumed.
- `answer`: what an intervention does to the answer, for the claims about causes; `answer_word` and
  `answer_soloist` are what they must not take for it (`nashlens.steering.spiked_answers`).
- `nash_code`: after layer l, the same signed by the Nash action's label, along a random direction
  that changes no label's logit before the norm. It can be read, and nothing follows from it; the
  blocks above run on, and no claim about the lens may be supported by it.

A logit is what the lens reads there: the change is along the two labels' unembedding difference
times the final norm's weight, as long as it must be for the norm of the *changed* residual to give
`s` more (`engine.writing`), before any soft-cap.

Estimators and rules are those of the claims, before the correction over the family. A draw is of
histories, as many as there are of each game, template and label set: the same ones for every spike,
and for the model as it is. Power is the share of draws with the verdict that is wanted, of those in
which the model lacks it by itself (`nashlens.steering.spike_summary`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nashlens.chunks import resumed
from nashlens.findings.claim import JudgeSettings
from nashlens.probes.design import ProbeSettings, usable
from nashlens.seeds import stream
from nashlens.steering.conflicts import (
    Conflicts,
    LoadLayer,
    can_conflict,
    inert_direction,
    label_directions,
)
from nashlens.steering.spike_summary import NONE, summarise_spikes
from nashlens.steering.spiked_answers import ANSWER, BY_WORD, SOLOIST, answer_verdicts
from nashlens.steering.spiked_lens import (
    LENS_CLAIMS,
    LensEffects,
    LensSpike,
    Spike,
    SpikedReadings,
    SpikeVerdict,
    lens_effects,
)
from nashlens.steering.spiked_probes import PROBE_CLAIMS, PROBED, UNIT, SpikedProbes

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.models.weights import Readout

_ABOUT_CAUSES = {"M4": "contradicted"} | dict.fromkeys(
    ("M7", "M8", "M9", "M10", "M11"), "supported"
)
WANTED: dict[str, dict[str, tuple[str, str]]] = {
    "override": {"M5": ("power", "supported"), "M6": ("power", "supported")},
    "word": {"M5": ("false", "supported"), "M6": ("false", "supported")},
    "history": {"M1": ("power", "supported"), "M2": ("power", "supported")},
    "nash_code": {
        "M3": ("power", "contradicted"),
        "M5": ("false", "supported"),
        "M6": ("false", "supported"),
    },
    ANSWER: {claim: ("power", verdict) for claim, verdict in _ABOUT_CAUSES.items()},
    BY_WORD: {claim: ("false", verdict) for claim, verdict in _ABOUT_CAUSES.items()},
    SOLOIST: {"M10": ("false", "supported")},
}
"""Spike -> claim -> whether the verdict counts as power or as a false finding, and the verdict."""
COLUMNS = (
    *("model", "spike", "layer", "strength", "unit", "claim", "counts", "wanted", "draw"),
    *("verdict", "estimate", "n", "n_matches"),
)
_LOGITS = "logits"


@dataclass(frozen=True)
class SpikeSettings:
    """How many spikes there are, and how they are judged."""

    prompts: int
    """Prompts of a game, at most, that are run."""
    layers: Sequence[int]
    logits: Sequence[float]
    """Strengths of override and word, and of an intervention's effect on the answer."""
    deviations: Sequence[float]
    """Strengths of history and Nash code, in standard deviations along the direction."""
    draws: int
    threads: int = 1
    """Draws of answers that are judged side by side."""


def spike_tables(
    engine: Engine,
    readout: Readout,
    load: LoadLayer,
    tables: dict[str, pd.DataFrame],
    settings: SpikeSettings,
    judged: JudgeSettings,
    probed: ProbeSettings,
) -> dict[str, pd.DataFrame]:
    """Put every spike into a model, and judge each draw.

    Parameters
    ----------
    engine : Engine
    readout : Readout
    load : callable
        The model's own residuals.
    tables : mapping of str to DataFrame
        The study's `prompts`, `lens` and `probes` of the model; of `heads`, `steering`, `override`
        and `patching` those that there are.
    settings : SpikeSettings
    judged : JudgeSettings
        As the study's; a draw's intervals take its resamples.
    probed : ProbeSettings
        As the study's.

    Returns
    -------
    dict of str to DataFrame
        `spikes`: one row per spike, layer, strength, claim and draw, columns `COLUMNS`. Spike
        `none` is the model as it is, in the same draws. Without prompts that can have a conflict
        there are no spikes of the lens. `spikes_summary`: from `summarise_spikes`.
    """
    used = usable(tables["prompts"])
    directions = label_directions(readout, used)
    rows: list[tuple[Spike | None, SpikeVerdict]] = []
    if len(can_conflict(used)):
        seed = judged.seed
        conflicts = Conflicts(readout, load, engine.n_layers, used, settings.prompts, seed)
        spikes = lens_spikes(conflicts, directions, settings, seed)
        named = [one.spike for one in spikes]
        readings = SpikedReadings(
            {"prompts": used, "lens": tables["lens"]},
            conflicts.prompts,
            LensEffects(*resumed("effects", lambda: lens_effects(engine, conflicts, spikes))),
            named,
            judged,
            settings.draws,
        )
        rows += [(named[k] if k >= 0 else None, found) for k, found in readings.verdicts()]
    probes = SpikedProbes(
        load,
        directions,
        used,
        tables["probes"],
        probed,
        judged,
        settings.layers,
        settings.deviations,
        settings.draws,
    )
    for spike in PROBED:
        claims = [claim for claim in WANTED[spike] if claim in PROBE_CLAIMS]
        rows += probes.verdicts(spike, claims)
    rows += answer_verdicts(
        tables, tuple(settings.logits), judged, settings.draws, settings.threads
    )
    table = pd.DataFrame(_described(rows, judged.subject), columns=list(COLUMNS))
    return {"spikes": table, "spikes_summary": summarise_spikes(table, judged.confidence)}


def lens_spikes(
    conflicts: Conflicts, directions: np.ndarray, settings: SpikeSettings, seed: int
) -> list[LensSpike]:
    """Return the spikes that the lens reads, with their writings.

    Parameters
    ----------
    conflicts : Conflicts
    directions : numpy.ndarray
        `(k, width)`, what the lens reads labels along.
    settings : SpikeSettings
    seed : int
        The experiment's seed.
    """
    spikes = []
    for layer in settings.layers:
        for strength in settings.logits:
            for name, signs in (("override", 1.0), ("word", conflicts.word)):
                sizes = np.broadcast_to(strength * signs, len(conflicts.ids))
                # A strength of 0 is the model as it is: nothing is run.
                writings = conflicts.override(layer, sizes) if strength else ()
                spikes.append(LensSpike(Spike(name, layer, strength, _LOGITS), writings))
        rng = stream(seed, "spikes", "nash_code", layer)
        strength = max(settings.deviations)
        code = conflicts.code(layer, strength, inert_direction(directions, rng))
        spikes.append(
            LensSpike(Spike("nash_code", layer, strength, UNIT), (code,) * (strength > 0))
        )
    return spikes


def _described(
    rows: Sequence[tuple[Spike | None, SpikeVerdict]], model: str
) -> Iterator[dict[str, object]]:
    """Yield rows of the table."""
    power = {
        claim: wanted
        for claims in WANTED.values()
        for claim, (counts, wanted) in claims.items()
        if counts == "power"
    }
    units = dict.fromkeys([*LENS_CLAIMS, *_ABOUT_CAUSES], _LOGITS)
    units |= dict.fromkeys(PROBE_CLAIMS, UNIT)
    for spike, found in rows:
        if spike is None:
            counts, wanted = "power", power[found.claim]
            spike = Spike(NONE, 0, 0.0, units[found.claim])
        else:
            counts, wanted = WANTED[spike.spike][found.claim]
        described: dict[str, object] = {"model": model, "counts": counts, "wanted": wanted}
        yield described | spike._asdict() | found._asdict()
