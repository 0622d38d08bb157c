"""Directions that separate Nash actions, and what pushing along them does."""
