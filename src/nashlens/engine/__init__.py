"""The forward engine: every forward pass of every stage goes through here.

- `forest`: prompts that share prefixes become packed rows, each shared token once.
- `blocks`: one transformer block over packed tokens, with keys and values kept or not.
- `core`: `Engine`, which captures residuals, scores labels and sweeps interventions.
- `edits`: what an intervention does to a residual.
- `reference`: the slow, obvious oracle over the model's own forward, for the tests.
"""
