"""Estimators of the ladder's rungs, a module for each stage whose results they read."""
