"""Before a run: what it will take, and why. Neither runs a job of the study."""


rule price_jobs:
    output:
        plan=results("plan.csv"),
        text=results("plan.txt"),
    log:
        results("logs/price_jobs.log"),
    benchmark:
        results("benchmarks/price_jobs.tsv")
    resources:
        **light_job(),
    params:
        **provenance("price_jobs", anew=True),
        **NESTED_CALL,
        targets=ASKED.about,
        measure=ASKED.measure,
    conda:
        "../envs/cpu.yaml"
    message:
        "What is still to do, and what it takes"
    script:
        "../scripts/price_jobs.py"


rule tell_status:
    output:
        text=results("status.txt"),
    log:
        results("logs/tell_status.log"),
    benchmark:
        results("benchmarks/tell_status.tsv")
    resources:
        **light_job(),
    params:
        **provenance("tell_status", anew=True),
        **NESTED_CALL,
        targets=ASKED.about,
    conda:
        "../envs/cpu.yaml"
    message:
        "What is current, and why the rest would run"
    script:
        "../scripts/tell_status.py"
