"""The logit lens and the tuned lens, from stored activations."""


rule read_lens:
    input:
        prompts=results("prompts/{model}.parquet"),
        activations=results("activations/{model}/manifest.json"),
        model="results/models/{model}/manifest.json",
    output:
        table=results("lens/{model}.parquet"),
    log:
        results("logs/read_lens/{model}.log"),
    benchmark:
        results("benchmarks/read_lens/{model}.tsv")
    threads: lens_threads
    resources:
        **light_job(),
        **lens_gpu(tuned=False),
    params:
        **provenance(
            "read_lens", reads=["lens.positions", "prompts.rounds", "models.{model}.device"]
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Logit lens of {wildcards.model}"
    # The probes wait for it.
    priority: 2
    script:
        "../scripts/read_lens.py"


rule summarise_lens:
    input:
        prompts=results("prompts/{model}.parquet"),
        lens=results("lens/{model}.parquet"),
    output:
        summary=results("lens_summary/{model}.parquet"),
        layers=results("lens_layers/{model}.parquet"),
    log:
        results("logs/summarise_lens/{model}.log"),
    benchmark:
        results("benchmarks/summarise_lens/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("summarise_lens", reads=[*BOOTSTRAP, SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Lens of {wildcards.model} in a few numbers and by layer"
    script:
        "../scripts/summarise_lens.py"


rule fit_tuned_lens:
    input:
        model="results/models/{model}/manifest.json",
    output:
        lens=results("tuned_lens/{model}.safetensors"),
        manifest=results("tuned_lens/{model}.json"),
        table=results("tuned_lens/{model}.parquet"),
    log:
        results("logs/fit_tuned_lens/{model}.log"),
    benchmark:
        results("benchmarks/fit_tuned_lens/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance("fit_tuned_lens", reads=[*PRECISION, "lens.tuned_tokens", SEED]),
    conda:
        "../envs/gpu.yaml"
    message:
        "Tuned lens of {wildcards.model}"
    script:
        "../scripts/fit_tuned_lens.py"


rule read_tuned_lens:
    input:
        prompts=results("prompts/{model}.parquet"),
        activations=results("activations/{model}/manifest.json"),
        model="results/models/{model}/manifest.json",
        lens=results("tuned_lens/{model}.safetensors"),
    output:
        table=results("lens_tuned/{model}.parquet"),
    log:
        results("logs/read_tuned_lens/{model}.log"),
    benchmark:
        results("benchmarks/read_tuned_lens/{model}.tsv")
    threads: lens_threads
    resources:
        **light_job(),
        **lens_gpu(tuned=True),
    params:
        **provenance(
            "read_tuned_lens", reads=["lens.positions", "prompts.rounds", "models.{model}.device"]
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Decisions of {wildcards.model} through its tuned lens"
    script:
        "../scripts/read_tuned_lens.py"


rule summarise_tuned_lens:
    input:
        prompts=results("prompts/{model}.parquet"),
        lens=results("lens_tuned/{model}.parquet"),
        text=results("tuned_lens/{model}.parquet"),
    output:
        table=results("lens_tuned_layers/{model}.parquet"),
    log:
        results("logs/summarise_tuned_lens/{model}.log"),
    benchmark:
        results("benchmarks/summarise_tuned_lens/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("summarise_tuned_lens", reads=[*BOOTSTRAP, SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Tuned lens of {wildcards.model} by layer"
    script:
        "../scripts/summarise_tuned_lens.py"


rule estimate_effects:
    input:
        prompts=results("prompts/{model}.parquet"),
        logit=results("lens/{model}.parquet"),
        tuned=results("lens_tuned/{model}.parquet"),
    output:
        table=results("effects/{model}.parquet"),
    log:
        results("logs/estimate_effects/{model}.log"),
    benchmark:
        results("benchmarks/estimate_effects/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("estimate_effects", reads=["findings.confidence"]),
    conda:
        "../envs/cpu.yaml"
    message:
        "What moves the decision of {wildcards.model}, by layer"
    script:
        "../scripts/estimate_effects.py"
