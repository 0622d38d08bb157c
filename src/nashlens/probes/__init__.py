"""Linear probes with folds, intervals and controls that respect matches."""

from nashlens.probes.design import TARGETS
from nashlens.probes.study import fit_probes

__all__ = ["TARGETS", "fit_probes"]
