"""What a study will cost: counted from its own design, before anything runs."""
