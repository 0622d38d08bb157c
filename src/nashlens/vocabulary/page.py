"""Tables of the page, by what it does with them."""

from __future__ import annotations

NEEDED = ("findings", "sensitivity", "games", "play", "texts")
"""Tables without which there is no page."""
SHOWN = (
    *NEEDED,
    *("ladder", "steered_play", "steered_texts", "probes", "effects", "steering_summary"),
    *("heads_summary", "choir", "patching_summary", "metrics", "steered_summary"),
    *("beliefs", "pairs"),
)
"""Tables that the page shows rows of."""
COUNTED = {"pairs": ("kind", "dropped")}
"""Of those that it only counts rows of: the columns that it reads."""
TRACED = (
    *("play_findings", "lineage_findings", "prompts", "lens", "steering", "heads", "override"),
    *("patching", "matches", "steered_matches", "steered_quiz", "steered_text"),
)
"""Tables whose rows it does not show, and that a number of it was made from."""
