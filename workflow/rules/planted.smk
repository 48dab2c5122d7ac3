"""
Planted controls: would each method detect a known loss of volume in this study's own scans (section trust)?

IN   the study's selected controls, their original scans, the template
OUT  planted/<assignment>/planting/           their scans, half with the loss, half with a sham; table.csv
     planted/<assignment>/planting/truth/     log_jacobian.nii.gz, regions.tsv: what was planted
     planted/<assignment>/                    the study's network and methods on them: a study of its own
     splits/<split>/trust/planted/<n>.tsv     what each method detects, of one assignment
     splits/<split>/trust/planted_controls.tsv    the same of all assignments

One job plants all assignments, so that each control is registered once. The study of an assignment is run by a Snakemake
of its own, as the runs of a comparison are.
"""

if study.assignments:
    from voxelwhy.comparison.plan import digest_of_numbers
    from voxelwhy.evaluation.planted.study import planted_study
    from voxelwhy.jobs.rules import named_profiles

    PROFILES = named_profiles(sys.argv)

    if workflow.is_main_process and not (workflow.local_exec or PROFILES or os.environ.get("SNAKEMAKE_PROFILE")):
        sys.exit(
            "\ntrust.planted on a cluster needs a profile, which its studies get too: --profile workflow/profiles/slurm\n"
        )

    # The settings of the study of an assignment, as far as they are known before its controls are planted.
    assigned = lambda wildcards: planted_study(
        study.recorded,
        wildcards.assignment,
        study.path(f"planted/{wildcards.assignment}/planting"),
        n_pairs=config["trust"]["planted_least"],
    )

    rule plant_controls:
        """Plant a known loss in half of the controls, and shams in the other half."""
        input:
            selected="<results>/cohort/selected.tsv",
            t1=rules.prepare_template.output.t1,
            mask=rules.prepare_template.output.mask,
            head=once_read(study.head_template),
        output:
            directory(expand("<results>/planted/{assignment}/planting", assignment=study.assignments)),
        threads: 8
        resources:
            mem_mb=ask.planting_mb,
            runtime=ask.planting_minutes,
            store=config["registration"]["store"],
        params:
            settings=facts(
                "planting",
                assignments=list(study.assignments),
                registering=code_digest(SCRIPTS / "register_scan.py", [study.registration_module]),
            ),
        script:
            "../../scripts/plant_controls.py"

    rule run_planted:
        """Run the network and the methods of the study on the planted controls of assignment {wildcards.assignment}."""
        input:
            planting="<results>/planted/{assignment}/planting",
            skull="<results>/cohort/skull.json",
        output:
            expand("<results>/splits/{split}/trust/planted/{{assignment}}.tsv", split=study.own_explained),
        wildcard_constraints:
            assignment=r"\d+",
        # This job runs here; the jobs of its study are submitted to a cluster.
        localrule: True
        threads: max(1, (workflow.resource_settings.cores or 1) // len(study.assignments))
        resources:
            mem_mb=ask.table_mb,
            runtime=ask.unlimited_minutes,
            local=int(workflow.local_exec),
            profiles=os.pathsep.join(PROFILES),
            snakefile=str(workflow.main_snakefile),
        params:
            settings=lambda wildcards: {"study": assigned(wildcards), "splits": study.own_explained},
            code=lambda wildcards: digest_of_numbers("run_cell", assigned(wildcards), SCRIPTS),
        script:
            "../../scripts/run_cell.py"

    rule gather_planted:
        """Put the assignments together: which methods detect the planted loss."""
        input:
            assignments=expand(
                "<results>/splits/{{split}}/trust/planted/{assignment}.tsv", assignment=study.assignments
            ),
        output:
            **tables("splits/{split}/tables", ["planted_controls"]),
            controls="<results>/splits/{split}/trust/planted_controls.tsv",
        wildcard_constraints:
            split=one_of(study.own_explained),
        group:
            "results_{split}"
        params:
            settings={},
        script:
            "../../scripts/publish_tables.py"
