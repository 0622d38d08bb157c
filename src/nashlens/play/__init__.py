"""Repeated matches between models and scripted strategies.

- `schedule`: who meets whom, in which game, under which surface form.
- `run`: matches in lockstep, all decisions of a round in one batch.
- `chunks`: matches already played are kept, and not played again.
"""
