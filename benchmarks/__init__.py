"""One script a headline ratio: `python -m benchmarks.NAME [--device cpu|cuda] [--quick]`.

Each runs a peer and nashlens in turn in one process, checks that both give the same numbers, and
prints as its last line one JSON object with `benchmark`, `device`, `ratio` (the peer's time
over ours), `max_error`, and the floor with the share of it that was reached.
"""
