"""How many verdicts `spike_model` asks for, and what these take: most of its time.

What it runs and reads is counted as for any other stage (`plan.stages`). A verdict takes a core of
its own, on a GPU too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from nashlens.steering.spiked_answers import ASKED
from nashlens.steering.spiked_lens import LENS_CLAIMS
from nashlens.steering.spiked_probes import PROBE_CLAIMS, PROBED
from nashlens.steering.spikes import WANTED
from nashlens.vocabulary.stages import left_out_by

PER_ANSWER, PER_READING = 7.0e9, 3.5e9
"""Operations that would take as long as one verdict: on what an intervention does to the answer,
whose estimators are the claims' longest, and on the lens or a probe, its share of fits included. Of
the default's 45 s on one core, 36 are so (docs/benchmarks.md). With the default's spikes and
draws on the tiny experiment's tables, of which the largest has 3,000 rows, a verdict took 0.056 s
and 0.006: what grows with the tables is in the rates as it is in the default."""


class Verdicts(NamedTuple):
    """Rows of the table `spikes`, at most."""

    answers: int
    """About what interventions do to the answer."""
    readings: int
    """About the lens and probes."""

    def operations(self) -> float:
        """Return the operations that would take as long."""
        return PER_ANSWER * self.answers + PER_READING * self.readings


def count_verdicts(
    config: Mapping[str, Any], layers: Sequence[int], probed: Collection[int], *, conflicts: bool
) -> Verdicts:
    """Count the verdicts on all draws of all spikes, and on the model as it is.

    Parameters
    ----------
    config : mapping
        The checked config.
    layers : sequence of int
        `spikes.layers`.
    probed : collection of int
        `probes.layers`.
    conflicts : bool
        Whether a prompt can have a conflict: without one the lens has no spike.
    """
    settings = config["spikes"]
    strengths, draws = len(settings["logits"]), settings["draws"]
    answers = sum(
        1 + strengths + len(asked.kinds) - 1
        for asked in ASKED.values()
        if (key := left_out_by(asked.table)) is None or config[key] is not None
    )
    # Overrides by action and by word, and a Nash code.
    spikes = len(layers) * (2 * strengths + 1)
    readings = conflicts * len(LENS_CLAIMS) * draws * (1 + spikes)
    for spike, target in PROBED.items():
        claims = sum(claim in PROBE_CLAIMS for claim in WANTED[spike])
        places = {1} if spike == "history" else set(layers)
        tried = len(places.intersection(probed)) * (target in config["probes"]["targets"])
        spikes = tried * len(settings["deviations"])
        readings += claims * draws * (spikes + (spikes > 0))
    return Verdicts(answers * draws, readings)
