"""Who writes the answer: what each component adds, and what the late ones against Nash cause."""


rule attribute_answers:
    input:
        games=results("games.parquet"),
        prompts=results("prompts/{model}.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        attribution=results("attribution/{model}.parquet"),
        override=results("override/{model}.parquet"),
    log:
        results("logs/attribute_answers/{model}.log"),
    benchmark:
        results("benchmarks/attribute_answers/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance(
            "attribute_answers",
            # Pairs are built from the design.
            reads=[
                *PRECISION,
                "attribution",
                "prompts",
                "games.{game}.histories",
                "findings.late_fraction",
                SEED,
            ],
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Who writes the answers of {wildcards.model}"
    # Spikes wait for it; short jobs fill the cores at the end.
    priority: 1
    script:
        "../scripts/attribute_answers.py"


rule summarise_attribution:
    input:
        attribution=results("attribution/{model}.parquet"),
        override=results("override/{model}.parquet"),
    output:
        attribution=results("attribution_summary/{model}.parquet"),
        choir=results("choir/{model}.parquet"),
    log:
        results("logs/summarise_attribution/{model}.log"),
    benchmark:
        results("benchmarks/summarise_attribution/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance("summarise_attribution", reads=[*BOOTSTRAP, SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "What components of {wildcards.model} write and cause"
    script:
        "../scripts/summarise_attribution.py"
