"""The ladder from the published protocol to the controlled one, read from what is stored."""


rule climb_ladder:
    input:
        prompts=results("prompts/{model}.parquet"),
        activations=results("activations/{model}/manifest.json"),
        probes=results("probes/{model}.parquet"),
        lens=results("lens/{model}.parquet"),
        steering=results("steering/{model}.parquet"),
    output:
        ladder=results("ladder/{model}.parquet"),
    log:
        results("logs/climb_ladder/{model}.log"),
    benchmark:
        results("benchmarks/climb_ladder/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "climb_ladder",
            reads=[*BOOTSTRAP, "findings.late_fraction", "lens.min_label_mass", SEED],
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Ladder of {wildcards.model}"
    script:
        "../scripts/climb_ladder.py"


rule join_ladder:
    input:
        ladders=expand(results("ladder/{model}.parquet"), model=MODELS),
    output:
        ladder=results("ladder.parquet"),
        ladder_csv=report(
            results("ladder.csv"),
            caption="../workflow/report/ladder_table.rst",
            category="Findings",
        ),
    log:
        results("logs/join_ladder.log"),
    benchmark:
        results("benchmarks/join_ladder.tsv")
    resources:
        **light_job(),
    params:
        **provenance("join_ladder"),
    conda:
        "../envs/cpu.yaml"
    message:
        "Ladders of all models"
    script:
        "../scripts/join_ladder.py"
