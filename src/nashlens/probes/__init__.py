"""Linear probes with folds, intervals and controls that respect matches."""

from nashlens.probes.design import Settings, add_choices, usable
from nashlens.probes.parts import PartScores
from nashlens.probes.study import fit_probes
from nashlens.probes.transfer import fit_transfer

__all__ = [
    "PartScores",
    "Settings",
    "add_choices",
    "fit_probes",
    "fit_transfer",
    "usable",
]
