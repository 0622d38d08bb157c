"""The forward engine: every forward pass of every stage goes through here.

- `forest`: prompts that share prefixes become packed rows, each shared token once.
- `segments`, `flex`: which packed tokens attend to which, on any device and on a GPU.
- `blocks`: one transformer block over packed tokens, with keys and values kept or not.
- `tensor`: the same blocks split over devices by tensor parallelism.
- `core`: `Engine`, which captures residuals and scores labels.
- `sweeps`: label scores under many interventions.
- `session`: prompts that grow from call to call.
- `forks`: a sweep's copies of the tokens that it edits.
- `edits`: what an intervention does to residuals.
- `generation`: prompts continued token by token, a subpackage with one door.
"""
