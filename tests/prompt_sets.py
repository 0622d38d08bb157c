"""Sets of random prompts that share what a match's prompts share."""

from nashlens.engine.labels import LabelledPrompt


def matches(rng, n, label_tokens=1):
    """Prompts that share stems of several lengths, as a match's do."""
    stem = rng.integers(0, 61, 20).tolist()
    prompts = []
    for _ in range(n):
        ids = (
            stem[: int(rng.integers(1, 20))] + rng.integers(0, 61, int(rng.integers(1, 9))).tolist()
        )
        first = rng.permutation(61)[:2]
        labels = tuple([int(t), *rng.integers(0, 61, label_tokens - 1).tolist()] for t in first)
        prompts.append(LabelledPrompt(ids, labels))
    # A duplicate, a prefix of another and a one-token prompt.
    return [
        *prompts,
        prompts[0],
        LabelledPrompt(stem[:5], ([1], [2])),
        LabelledPrompt([3], ([1], [2])),
    ]
