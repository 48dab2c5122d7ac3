"""Write the report: one page to read from top to bottom."""

from pathlib import Path

from voxelwhy.io.images import read_json
from voxelwhy.io.provenance import software_versions
from voxelwhy.io.tables import SCANS, SELECTED, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.manifests import read_registered
from voxelwhy.report.citations import choose_citations
from voxelwhy.report.costs import cost_section
from voxelwhy.report.findings import read_findings
from voxelwhy.report.methods_text import external_text, methods_text
from voxelwhy.report.opening import open_report, strongest_regions
from voxelwhy.report.page import write_report
from voxelwhy.report.sections import collect_sections
from voxelwhy.report.strip import list_registrations, registration_table

IMPORTED = "imported heatmaps"  # a separate heading; no split can have this name

with door(snakemake) as job:
    config, splits, simulated = (job.settings[name] for name in ("config", "splits", "simulated"))
    selected, methods = read_table(job.input.selected, SELECTED), job.settings["methods"]
    findings = read_findings(job.input, methods=methods, classes=job.settings["classes"])
    page = Path(snakemake.output.report)
    quality = registration_table(*read_registered(job.input.registered), read_table(job.input.scan_table, SCANS))
    items = {split: [] for split in ["", *splits, IMPORTED]}
    for path in job.input.captions:
        part, name = Path(path).parts[2:4]  # results/<study>/<part>/…
        items[{"splits": name, "imported_maps": IMPORTED}.get(part, "")].append(path)
    for split, folder in zip(job.settings["explained"], job.input.scans, strict=True):
        items[split] += sorted(Path(folder).glob("*.json"))
    people = {"n_subjects": int(selected["subject_id"].nunique()), "n_scans": len(selected)}
    whole_heads = read_json(job.input.skull)["skull_stripped"] is False
    text = methods_text(config, simulated=simulated, whole_heads=whole_heads, **people)
    text += external_text([read_json(path) for path in job.input.external])
    # Run time and memory are read from files that are not inputs: they are shown here and affect no result.
    costs = cost_section(page.parent, writer=snakemake.rule, draws=config["evaluation"]["shuffled"])
    sections = collect_sections(
        items,
        methods=text,
        regions=strongest_regions(findings),
        registrations=list_registrations(quality, page),
    )
    write_report(
        sections + costs,
        job.output.report,
        title=config["study"],
        simulated=simulated,
        sentences={s: read_json(p)["sentences"] for s, p in zip(splits, job.input.summaries, strict=True)},
        versions=software_versions(),
        split_titles=job.settings["split_titles"],
        real=job.settings["real"],
        viewers=[Path(*Path(path).parts[2:]).as_posix() for path in job.input.viewers],
        citations=choose_citations(config, simulated=simulated),
        opening=open_report(
            findings,
            config,
            selected,
            simulated=simulated,
            baseline=job.settings["titles"]["baseline"],
            headline=job.input.headline,
        ),
    )
