"""Which parts of a model carry a decision: heads, ablated alone and in groups."""
