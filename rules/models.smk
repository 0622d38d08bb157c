"""Models: converted once to safetensors, shared by all experiments."""


rule convert_model:
    input:
        own_files,
    output:
        manifest="results/models/{model}/manifest.json",
    log:
        results("logs/convert_model/{model}.log"),
    benchmark:
        results("benchmarks/convert_model/{model}.tsv")
    resources:
        **converting_job(),
    params:
        **provenance(
            "convert_model",
            reads=[
                f"models.{{model}}.{key}"
                for key in ("source", "adapter", "chat_template", "tokenizer")
            ],
            modules=made_up_code,
            words=planted_words,
            files=source_files,
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Convert {wildcards.model} to safetensors"
    script:
        "../scripts/convert_model.py"
