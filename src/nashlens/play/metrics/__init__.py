"""What matches measure: cooperation, distance to equilibrium, reciprocity, strategies, biases.

- `rounds`: the play table as arrays, one line a match and seat.
- `distances`: how far joint play is from the set of equilibria.
- `matches`: every measure of a single match (`matches.parquet`).
- `measures`: the measures as data: formula, definition, control.
- `mixture`: classical strategies by maximum likelihood.
- `serial`: serial independence of a seat's moves.
- `effects`: what labels, option order and templates do to the choice.
- `mover`: first-mover advantage.
- `quiz`: the share of right answers of each model.
- `cells`: cells of the design, and the bootstrap of their ratio measures.
- `rows`, `table`: all of them, for each cell of the design (`metrics.parquet`).
- `pooled`, `by_round`: summaries of them for the figures.
"""
