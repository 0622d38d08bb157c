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
- `generation`: prompts continued token by token, many at once.
- `slots`, `decoding`: their kept keys and values, and the step that makes one token each.
- `decode_attention`, `decode_kernel`: how a new token attends, on any device and on a GPU.
- `sampling`: which token comes next, by a request's own seed.
- `reference`: the slow, obvious oracle over the model's own forward, for the tests.
"""
