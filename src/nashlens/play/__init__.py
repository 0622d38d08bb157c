"""Repeated matches between models and scripted strategies.

- `experiment`: from the config to what a group of agents did and wrote.
- `schedule`: who meets whom, in which game, under which surface form and move order.
- `player`: a model as a player, and what is the same for all matches.
- `modes`: how an agent comes to a decision; `answers`: the grammar of final answers.
- `run`: matches in lockstep, all decisions of a round in one batch.
- `chunks`: batches of matches that were played are kept, and not played again.
- `join`: the play of all groups and jobs as one table.
- `quiz`: whether a model knows the rules and the history.
- `beliefs`: what a model expects of the other, and whether it best-responds to that.
- `metrics`: what all this measures, for each match and each cell of the design.
"""
