"""Linear probes with folds, intervals and controls that respect matches.

Nothing is imported here: directions use the solver, and must not depend on the rest.
"""
