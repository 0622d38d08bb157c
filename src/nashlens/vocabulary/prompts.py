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
