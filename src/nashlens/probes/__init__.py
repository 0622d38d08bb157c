"""Linear probes with folds, intervals and controls that respect matches."""

from nashlens.probes.design import ProbeSettings, add_choices, usable
from nashlens.probes.study import fit_probes, study_probes
from nashlens.probes.transfer import fit_transfer

__all__ = [
    "ProbeSettings",
    "add_choices",
    "fit_probes",
    "fit_transfer",
    "study_probes",
    "usable",
]
