"""The logit lens, from stored activations."""


rule read_lens:
    input:
        prompts=results("prompts/{model}.parquet"),
        activations=results("activations/{model}/manifest.json"),
        model="results/models/{model}/manifest.json",
    output:
        results("lens/{model}.parquet"),
    log:
        results("logs/read_lens/{model}.log"),
    benchmark:
        results("benchmarks/read_lens/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("read_lens"),
    conda:
        "../envs/cpu.yaml"
    message:
        "Logit lens of {wildcards.model}"
    script:
        "../scripts/read_lens.py"


rule summarise_lens:
    input:
        prompts=results("prompts/{model}.parquet"),
        lens=results("lens/{model}.parquet"),
    output:
        results("lens_summary/{model}.parquet"),
    log:
        results("logs/summarise_lens/{model}.log"),
    benchmark:
        results("benchmarks/summarise_lens/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("summarise_lens"),
    conda:
        "../envs/cpu.yaml"
    message:
        "Lens of {wildcards.model} in a few numbers"
    script:
        "../scripts/summarise_lens.py"
