"""What each layer would answer: the logit lens, and what it says in a few numbers."""
