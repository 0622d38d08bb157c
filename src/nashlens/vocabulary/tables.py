"""Tables of an experiment's results, by the target that makes them."""

from __future__ import annotations

from collections.abc import Mapping

ONE_FILE = {
    "games": "games",
    "play": "play texts matches metrics rounds mode_differences"
    " steered_play steered_texts steered_matches steered_summary",
    "quiz": "quiz",
    "ladder": "ladder",
    "findings": "findings sensitivity play_findings play_sensitivity"
    " lineage_findings lineage_sensitivity",
    "calibration": "calibration calibration_rates",
}
"""Target -> its tables of one file for all models, `NAME.parquet`."""

BY_MODEL = {
    "prompts": "prompts",
    "play": "steered_quiz steered_text",
    "quiz": "beliefs",
    "probes": "probes probes_parts transfer",
    "lens": "lens lens_summary lens_layers tuned_lens lens_tuned lens_tuned_layers effects",
    "steering": "directions steering steering_summary",
    "circuits": "heads heads_summary",
    "patching": "pairs patching patching_summary",
    "attribution": "attribution override attribution_summary choir",
    "spikes": "spikes spikes_summary",
    "figures": "surface_summary",
}
"""Target -> its tables of one file a model, `NAME/MODEL.parquet`."""


def _targets(tables: Mapping[str, str]) -> dict[str, str]:
    return {name: target for target, names in tables.items() for name in names.split()}


WHOLE, SPLIT = _targets(ONE_FILE), _targets(BY_MODEL)
"""Table -> the target that makes it."""
JOINED = ("quiz", "ladder", "findings", "sensitivity")
"""Tables of one file that also have a file a model beside them."""
