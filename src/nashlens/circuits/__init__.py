"""Which parts of a model carry a decision: heads are ablated singly and in groups."""
