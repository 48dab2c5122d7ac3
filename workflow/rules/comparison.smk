"""
Comparison: how much accuracy and heatmaps depend on choices made before them, or on chance alone (section compare).

IN   the config; each combination of its choices, and each repeat of it, is a study of its own
OUT  cells/<cell>/                           that study; its config.yaml gives its report too
     cells/<cell>.json                       what the comparison keeps of it
     comparison/cells.tsv, methods.tsv       one row a cell; one a cell and method
     comparison/regions.tsv                  of a null: which regions stand too often among the first of a method
     comparison/tables/<question>.*          the table of the comparison
     comparison/figures/<question>.*         its figure

A cell is run by a Snakemake of its own, so that it is in every respect the study that its config says, resumes where it
ended, and can be looked at by itself. Cohorts and registrations are shared through their stores. On one machine as many
cells run side by side as there are processors; on a cluster this controller starts them, and their jobs are submitted.
"""

if CELLS:

    rule run_cell:
        """Run the study {wildcards.cell} to its numbers."""
        input:
            cell_inputs,
        output:
            study("cells/{cell}.json"),
        log:
            study("logs/run_cell/{cell}.log"),
        benchmark:
            study("benchmarks/run_cell/{cell}.tsv")
        wildcard_constraints:
            cell=one_of(CELLS_BY_NAME),
        # Its jobs are what is submitted to a cluster.
        localrule: True
        conda:
            "../../envs/voxelwhy.yaml"
        # Side by side: a study has stretches in which one step waits for another.
        threads: max(1, (workflow.resource_settings.cores or 1) // len(CELLS))
        resources:
            mem_mb=table_mem_mb,
            runtime=cell_runtime,
            local=int(workflow.local_exec),
            profiles=os.pathsep.join(PROFILES),
            snakefile=str(workflow.main_snakefile),
        params:
            settings=cell_settings,
            code=cell_code,
        script:
            "../../scripts/run_cell.py"

    rule compare_cells:
        """Put the cells together: the tables and the figure of the comparison."""
        input:
            cells=expand(study("cells/{cell}.json"), cell=CELLS_BY_NAME),
            t1=rules.prepare_template.output.t1,
        output:
            cells=study("comparison/cells.tsv"),
            methods=study("comparison/methods.tsv"),
            regions=[study("comparison/regions.tsv")] if QUESTION == "null" else [],
            table=table_files(f"comparison/tables/{QUESTION}"),
            figure=figure(f"comparison/figures/{QUESTION}", "comparison"),
        log:
            study("logs/compare_cells.log"),
        benchmark:
            study("benchmarks/compare_cells.tsv")
        localrule: True
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=map_mem_mb,
            runtime=grid_runtime,
        params:
            settings={
                "question": QUESTION,
                "choices": list(COMPARED["choices"]),
                "refused": REFUSED,
                "repeated": COMPARED["repeated"],
                "same_scans": not any(name.startswith("simulation.") for name in COMPARED["repeated"]),
                "classes": CLASSES,
                "bootstrap": config["evaluation"]["bootstrap"],
                "seed": SEED,
                "top": config["figures"]["top_regions"],
                "shown": SHOWN,
                "simulated": CELLS_MARK,
                "atlas": ATLAS_TITLE,
            },
            code=code("compare_cells.py"),
        script:
            "../../scripts/compare_cells.py"
