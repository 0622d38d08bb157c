"""Surface forms of prompts (`nashlens.prompts.templates`, `nashlens.prompts.render`)."""

TEMPLATES = ("neutral", "named", "cover", "table")
"""Wordings of a decision."""
LABEL_MAPS = ("identity", "swapped")
"""Whether the first label means action 0 or action 1."""
OPTION_ORDERS = ("forward", "reversed")
"""Whether action 0 or action 1 is listed first."""
MOVE_ORDERS = ("simultaneous", "row_first", "column_first")
"""Who moves when."""

SURFACE_COLUMNS = ("template", "label_set", "label_map", "option_order")
"""What makes up a surface form, as columns of tables."""
CROSSABLE = ("templates", "label_sets")
"""What can be crossed within every history; else each history has one of each."""
LABEL_KINDS = ("neutral", "actions")
"""Labels that say nothing about the game, and each game's own names of its actions."""
ACTION_LABELS = LABEL_KINDS[1]
"""What the config writes in place of a pair of labels for the game's own names."""
