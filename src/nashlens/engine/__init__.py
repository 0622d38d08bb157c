"""The forward engine: every forward pass of every stage goes through here.

- `forest`: prompts that share prefixes become packed rows, each shared token once.
- `segments`, `flex`: which packed tokens attend to which, on any device and on a GPU.
- `block`: one transformer block under our own names.
- `stack`: `BlockStack`, what the engine asks of a model's blocks; `blocks` offers it with all heads
  on one device, `tensor` with heads split over devices.
- `cache`: keys and values of earlier tokens.
- `core`: `Engine`, which runs packed rows and captures residuals.
- `labels`: from prompts and labels to P(action).
- `session`: prompts that grow from call to call.
- `sweeps`: label scores under many interventions; `forks`, the tokens that run again, and `copies`
  of them, one for each intervention.
- `edits`: what interventions do to residuals; `patching`: to outputs of heads and MLPs too.
- `generation`: prompts continued token by token, a subpackage with one door.
"""
