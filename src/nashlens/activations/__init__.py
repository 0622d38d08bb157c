"""Residual-stream activations on disk.

`plan` decides which prompts still need extraction, `extract` computes and writes them, `store`
reads them back. A folder holds::

    shard-00000.npy    (prompts, layers + 1, width)
    shard-00000.json   what the shard holds: written after it, so it marks the shard as complete
    manifest.json      all shards of the current prompts; written last
"""
