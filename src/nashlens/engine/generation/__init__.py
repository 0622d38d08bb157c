"""Generation: prompts continued token by token, many at once.

This is the door: nothing outside imports the modules behind it.

- `scheduler`: `generate`, which takes requests into slots and their tokens out.
- `decoder`: the step that makes one token in each slot.
- `slots`: the slots' keys and values, and how prompts come into them.
- `decode_attention`, `decode_kernel`: how a new token attends, on any device and on a GPU.
- `sampling`: which token comes next, by a request's own seed.
"""

from nashlens.engine.generation.decoder import Decoder, Tuning
from nashlens.engine.generation.scheduler import Generated, Request, generate

__all__ = ["Decoder", "Generated", "Request", "Tuning", "generate"]
