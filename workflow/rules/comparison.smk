"""
Comparison: how much accuracy and heatmaps depend on choices made before them, or on chance alone (section compare).

IN   the config; each combination of its choices, and each repeat of it, is a study of its own (a run)
OUT  cells/<run>/                            that study; its config.yaml makes its report too
     cells/<run>.json                        what the comparison keeps of it
     comparison/cells.tsv, methods.tsv       one row per run; one per run and method
     comparison/regions.tsv                  for a null: regions that are among the first of a method too often
     comparison/tables/<question>.*          the table of the comparison
     comparison/figures/<question>.*         its figure
     comparison/findings.md                  what it found, in sentences

Each run has a Snakemake of its own: it is in every respect the study that its config describes, resumes where it
ended, and can be inspected by itself. Cohorts and registrations are shared through their stores. On one machine as
many runs are active at a time as there are processors; on a cluster this controller starts them, and their jobs are
submitted.
"""

COMPARISON = []

if CELLS:
    from voxelwhy.comparison.plan import Plan
    from voxelwhy.jobs.rules import named_profiles

    plan, PROFILES = Plan(config, CELLS, REFUSED, scripts=SCRIPTS, schema=SCHEMA), named_profiles(sys.argv)
    config["cells"] = plan.configs()
    if workflow.is_main_process:
        if not (workflow.local_exec or PROFILES or os.environ.get("SNAKEMAKE_PROFILE")):
            sys.exit(
                "\na comparison on a cluster needs a profile, which its runs get too: --profile workflow/profiles/slurm\n"
            )
        print(*plan.lines(), sep="\n", file=sys.stderr)

    rule run_cell:
        """Run the study {wildcards.cell} to its numbers."""
        input:
            plan.inputs,
        output:
            "<results>/cells/{cell}.json",
        wildcard_constraints:
            cell=one_of(plan.cells),
        # This job runs here; the jobs of its study are submitted to a cluster.
        localrule: True
        # Several at a time: a study has stretches in which one step waits for another.
        threads: max(1, (workflow.resource_settings.cores or 1) // len(CELLS))
        resources:
            mem_mb=ask.table_mb,
            runtime=ask.unlimited_minutes,
            local=int(workflow.local_exec),
            profiles=os.pathsep.join(PROFILES),
            snakefile=str(workflow.main_snakefile),
        params:
            settings=plan.settings,
            code=plan.code,
        script:
            "../../scripts/run_cell.py"

    rule compare_cells:
        """Put the runs together: the tables and the figure of the comparison."""
        input:
            cells=expand("<results>/cells/{cell}.json", cell=plan.cells),
            t1=rules.prepare_template.output.t1,
        output:
            cells="<results>/comparison/cells.tsv",
            methods="<results>/comparison/methods.tsv",
            regions=["<results>/comparison/regions.tsv"] if plan.question == "null" else [],
            findings="<results>/comparison/findings.md",
            table=tables("comparison/tables", [plan.question])[plan.question],
            figure=figure(f"comparison/figures/{plan.question}", "comparison"),
        localrule: True
        resources:
            **ask.maps,
        params:
            settings=facts("classes", "top", "shown", "atlas", **plan.compared()),
        script:
            "../../scripts/compare_cells.py"

    COMPARISON = [rules.compare_cells.output.figure[0], rules.compare_cells.output.table[1]]
