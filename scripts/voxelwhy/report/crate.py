"""The run of a study as an RO-Crate: which software made which files, from which settings.

The profile is Process Run Crate: https://w3id.org/ro/wfrun/process/0.5.
"""

from __future__ import annotations

import datetime
from importlib import metadata
from pathlib import Path

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

import voxelwhy

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
#: The software that made a study: name of the package, and its page, if it has one.
SOFTWARE = {
    "voxelwhy": "",
    "snakemake": "https://snakemake.github.io",
    "torch": "https://pytorch.org",
    "antspyx": "https://github.com/ANTsX/ANTsPy",
    "nilearn": "https://nilearn.github.io",
}
FORMATS = {".html": "text/html", ".tsv": "text/tab-separated-values", ".json": "application/json"}
FORMATS |= {".yaml": "application/yaml"}
#: What a study consists of: a file, or a folder that ends with a slash; the fields in braces are those of each split.
PARTS = {
    "report.html": "The report",
    "cohort/scans.tsv": "Each scan of the table",
    "cohort/selected.tsv": "The scans that the study uses",
    "cohort/excluded.tsv": "Rows and scans that the study does not use, with the reason",
    "atlas/": "The atlas on the grid of the study",
    "figures/": "Figures of the cohort",
    "tables/": "Tables of the cohort",
    "splits/{split}/folds.tsv": "Training, validation and test scans of each fold of {split}",
    "splits/{split}/models/": "The networks of {split}, with model cards",
    "splits/{split}/heatmaps/": "Mean heatmaps and relevance by region of {split}, for each method",
    "splits/{split}/regions/": "Relevance by atlas region of {split}, with intervals",
    "splits/{split}/evaluation/": "Accuracy, agreement and verdicts of {split}",
    "splits/{split}/trust/": "How far to trust the heatmaps of {split}",
    "splits/{split}/figures/": "Figures of {split}",
    "splits/{split}/tables/": "Tables of {split}",
    "splits/{split}/viewer.html": "The viewer of the maps of {split}",
    "derivatives/voxelwhy/": "The registered scans and the maps as BIDS derivatives",
}
DESCRIPTION = "Networks that classify brain scans, heatmaps of their decisions, and how far these can be trusted."
SIMULATED, REAL = "All scans are simulated.", "The original scans are not part of this folder."
LICENCE = (
    "No licence is given for what the study made: its authors decide, within the terms under which they received the "
    "scans."
)


def describe_run(folder, settings_file, facts):
    """Describe the files of a finished study as an RO-Crate.

    Parameters
    ----------
    folder : path of the study
    settings_file : str, path of all settings of the study, relative to the folder
    facts : dict with study, classes, simulated (bool) and splits, the names of the splits

    Returns
    -------
    dict : the content of ro-crate-metadata.json

    References
    ----------
    Soiland-Reyes 2022 (Data Sci 5:97); Leo 2024 (PLoS ONE 19:e0309210).
    """
    folder, classes = Path(folder), facts["classes"]
    ended = datetime.datetime.fromtimestamp(int((folder / "report.html").stat().st_mtime), datetime.UTC)
    crate = ROCrate(gen_preview=False, version="1.1")
    crate.name = f"{facts['study']}: {classes['positive']} and {classes['negative']}"
    crate.description = f"{DESCRIPTION} {SIMULATED if facts['simulated'] else REAL}"
    crate.license = LICENCE
    crate.datePublished = ended
    crate.root_dataset["conformsTo"] = crate.add(_thing(crate, PROFILE, "CreativeWork", name="Process Run Crate"))
    settings = _part(crate, settings_file, "All settings, with their defaults")
    described = [(part, title) for part, title in _parts(facts["splits"]) if (folder / part).exists()]
    made = [_part(crate, part, title) for part, title in described]
    first, *others = [crate.add(_software(crate, name, url)) for name, url in SOFTWARE.items()]
    first["softwareRequirements"] = others
    what = {"name": "The study, from its table to its report", "endTime": ended.isoformat()}
    action = crate.add_action(first, identifier="#study", object=[settings], result=made, properties=what)
    crate.root_dataset["mentions"] = action
    return crate.metadata.generate()


def _thing(crate, identifier, kind, **properties):
    return ContextEntity(crate, identifier, properties={"@type": kind, **properties})


def _part(crate, path, title):
    """A file or a folder of the study."""
    properties = {"name": title}
    if path.endswith("/"):
        return crate.add_directory(dest_path=path, properties=properties)
    return crate.add_file(dest_path=path, properties=properties | {"encodingFormat": FORMATS[Path(path).suffix]})


def _software(crate, name, url):
    installed = voxelwhy.__version__ if name == "voxelwhy" else metadata.version(name)
    page = {"url": url} if url else {}
    return _thing(crate, url or f"#{name}", "SoftwareApplication", name=name, softwareVersion=installed, **page)


def _parts(splits):
    for part, title in PARTS.items():
        if "{split}" in part:
            yield from ((part.format(split=split), title.format(split=split)) for split in splits)
        else:
            yield part, title
