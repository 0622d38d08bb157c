"""Residual-stream activations on disk.

`plan` decides which prompts still need extraction, `extract` computes them, `shards` writes them
and `store` reads them back. A folder holds::

    shard-00000.npy    (prompts, layers + 1, width): at the decision; or with further positions
                       (prompts, positions, layers + 1, width)
    shard-00000.json   what the shard holds: written after it, so it marks the shard as complete
    manifest.json      all shards of the current prompts; written last
"""
