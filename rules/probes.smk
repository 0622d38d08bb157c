"""Linear probes, for each target and layer."""


rule fit_probes:
    input:
        prompts=results("prompts/{model}.parquet"),
        activations=results("activations/{model}/manifest.json"),
    output:
        results("probes/{model}.parquet"),
    log:
        results("logs/fit_probes/{model}.log"),
    benchmark:
        results("benchmarks/fit_probes/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("fit_probes"),
    conda:
        "../envs/cpu.yaml"
    message:
        "Probes on {wildcards.model}"
    script:
        "../scripts/fit_probes.py"
