"""What the repository promises in addition to its code: pins, configs, README, the two commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from helpers.paths import ROOT, SCHEMA
from helpers.workflow import plan, snakemake
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.config.settings import load_settings
from voxelwhy.io.images import Grid

CONFIGS = sorted((ROOT / "config").glob("*.yaml"))
#: Pages that show configs.
SHOWN = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if "```yaml" in path.read_text()]
NETWORK_CARD = "results/other/template/network.json"


def pins(lines):
    """Exact pins by name; a requirement without one is a fault."""
    found = {}
    for line in lines:
        line = line.partition("#")[0].strip()
        if line:
            name, exact, version = line.partition("==")
            assert exact and version, line
            found[name.lower()] = version
    return found


def test_the_conda_environment_has_the_pins_of_requirements_txt():
    required = pins((ROOT / "requirements.txt").read_text().splitlines())
    environment = yaml.safe_load((ROOT / "envs" / "voxelwhy.yaml").read_text())
    listed = pins(next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)))
    assert len(listed) >= 15
    assert {name: required.get(name) for name in listed} == listed
    for name in ("snakemake", "torch", "antspyx", "nilearn", "pandas", "scikit-learn", "matplotlib"):
        assert name in listed


def test_the_package_pins_torch_as_the_workflow_does():
    required = pins((ROOT / "requirements.txt").read_text().splitlines())
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"torch=={required['torch']}" in dependencies


def test_what_is_installed_is_what_is_pinned():
    from importlib.metadata import version

    for name, pinned in pins((ROOT / "requirements.txt").read_text().splitlines()).items():
        assert version(name).partition("+")[0] == pinned, name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_follows_the_schema(path):
    settings = load_settings(yaml.safe_load(path.read_text()), SCHEMA)
    assert settings["study"]


def config_blocks(path):
    """The configs that a page shows, whole or in part."""
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", path.read_text(), re.S)]


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.name)
def test_configs_in_readme_and_docs_follow_the_schema(path):
    """A part is tried in the paper's config; one with a section `simulation` or `compare`, in the embedded cohort's."""
    paper, demo = (yaml.safe_load((ROOT / "config" / name).read_text()) for name in ("adni_1.5t.yaml", "config.yaml"))
    for block in config_blocks(path):
        simulated = {"simulation", "compare"} & set(block)
        if "study" in block and not simulated:
            config = block
        elif simulated:
            config = demo | block | {"simulation": demo["simulation"] | block.get("simulation", {})}
        else:
            config = paper | block
        if "architecture" in config.get("model", {}):  # which replaces these two
            own = {key: value for key, value in paper["training"].items() if key not in ("network", "dropout")}
            config = config | {"training": own}
        settings = load_study(config, SCHEMA)
        assert simulated or settings["cohort"]["table"]


def test_no_config_of_readme_and_docs_is_left_out():
    counts = {path.name: len(config_blocks(path)) for path in SHOWN}
    assert counts == {
        "README.md": 1,
        "atlases.md": 2,
        "baseline.md": 1,
        "choices.md": 1,
        "comparisons.md": 1,
        "embedded_cohort.md": 4,
        "existing_weights.md": 2,
        "external.md": 1,
        "large.md": 2,
        "own_data.md": 5,
        "trust.md": 2,
        "what_the_network_sees.md": 2,
    }


def test_the_folder_of_results_is_there_after_a_clone():
    """With the page that says what comes out; nothing else in it is committed."""
    listed = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert listed.stdout.split() == ["results/README.md"] or not (ROOT / ".git").exists()
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert ignored.index("results/*") < ignored.index("!results/README.md")


def test_make_clean_leaves_the_page_on_results(tmp_path):
    (tmp_path / "results" / "demo").mkdir(parents=True)
    (tmp_path / "results" / ".cohorts").mkdir()
    (tmp_path / "results" / "demo" / "report.html").write_text("a study")
    shutil.copy(ROOT / "results" / "README.md", tmp_path / "results")
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["README.md"]


def test_the_embedded_cohort_has_a_dry_run(tmp_path):
    """The configs of real studies have theirs in test_configs.py, on a small download."""
    assert plan(tmp_path).counts()["write_report"] == 1


def minimal(tmp_path, **sections):
    (tmp_path / "scans.csv").write_text("path,label\na.nii.gz,AD\nb.nii.gz,CN\n")
    classes = {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}}
    config = {"study": "other", "cohort": {"source": "folder", "table": "scans.csv", "classes": classes}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(config | sections))
    return config | sections


def test_another_config_replaces_the_default_one(tmp_path):
    """No value of the demo is in another study: its settings are those of the file and the schema's defaults."""
    config = minimal(tmp_path)
    study = plan(tmp_path, "--configfile", "other.yaml")
    assert "simulate_cohort" not in study.counts()
    assert "results/demo" not in json.dumps([study.jobs, study.rules])
    assert study.config == json.loads(json.dumps(load_settings(config, SCHEMA)))


def test_planted_controls_are_planted_once_and_each_assignment_is_a_study(tmp_path):
    minimal(tmp_path, registration={"resolution_mm": 4}, trust={"planted": 2})
    counts = plan(tmp_path, "--configfile", "other.yaml").counts()
    assert (counts["plant_controls"], counts["run_planted"], counts["gather_planted"]) == (1, 2, 1)
    assert "score_truth" not in counts


def test_a_truth_planted_in_real_scans_is_scored(tmp_path):
    """With 19 draws of shuffled diagnoses, as in a simulated cohort."""
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "log_jacobian.nii.gz").touch()
    config = minimal(tmp_path, registration={"resolution_mm": 4})
    minimal(tmp_path, registration={"resolution_mm": 4}, cohort=config["cohort"] | {"truth": "truth"})
    study = plan(tmp_path, "--configfile", "other.yaml")
    assert (
        study.counts()["score_truth"] == study.counts()["draw_truth"] == 1 and "simulate_cohort" not in study.counts()
    )
    assert study.config["evaluation"]["shuffled"] == 19


def test_a_missing_table_is_named(tmp_path):
    minimal(tmp_path)
    (tmp_path / "scans.csv").unlink()
    code, text = snakemake(tmp_path, "--dry-run", "--configfile", "other.yaml")
    assert code != 0
    assert "scans.csv" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: other\ncohort:\n\tsource: folder\n", r"not valid YAML\n.*file other.yaml, row 3"),
        ("# later\n", r"the config file is empty\n.*file other.yaml"),
        (None, r"there is no such config file\n.*file other.yaml"),
    ],
)
def test_a_config_that_snakemake_cannot_read_is_refused_by_the_profile_first(tmp_path, text, message):
    if text is not None:
        (tmp_path / "other.yaml").write_text(text)
    code, said = snakemake(tmp_path, "--dry-run", "--configfile", "other.yaml")
    assert code == 1 and re.search(message, said), said
    assert "Traceback" not in said and "WorkflowError" not in said


@pytest.mark.slow
def test_a_network_that_cannot_work_on_the_grid_says_so_before_anything_runs(tmp_path):
    minimal(tmp_path, registration={"resolution_mm": 3}, training={"network": "rieke2018"})
    code, text = snakemake(tmp_path, NETWORK_CARD, "--cores", "1", "--configfile", "other.yaml")
    assert code != 0
    assert "cannot work on a grid of 65 x 77 x 65 voxels" in text
    assert "78 x 78 x 78" in text
    assert "Traceback" not in text
    assert not (tmp_path / "results" / "other" / "template" / "network.json").exists()


@pytest.mark.slow
def test_the_small_datasets_network_has_its_grid_mask_and_memory(tmp_path):
    """91 x 109 x 91 voxels from -90, -126, -72 mm on; and the paper's network on the paper's grid wants 16 GB."""
    training = {"network": "small_dataset", "mask": "grey_white", "batch_size": 2}
    methods = {"methods": {"grad_cam": {}}}
    minimal(tmp_path, registration={"resolution_mm": 2, "grid": "mni"}, training=training, heatmaps=methods)
    code, text = snakemake(tmp_path, NETWORK_CARD, "--cores", "1", "--configfile", "other.yaml")
    assert code == 0, text
    template = tmp_path / "results" / "other" / "template"
    assert json.loads((template / "network.json").read_text())["spatial_shape"] == [91, 109, 91]
    grid, card = Grid.of(template / "network_mask.nii.gz"), json.loads((template / "network_mask.json").read_text())
    assert (grid.shape, grid.affine[:3, 3].tolist()) == ((91, 109, 91), [-90, -126, -72])
    assert card["mask"] == "grey_white"
    assert card["voxels"] == card["voxels_of_the_brain"] == pytest.approx(1.73e6 / 8, rel=0.03)
    wanted = {}
    for name, sections in (("small_dataset", {"training": training, "heatmaps": methods}), ("rieke2018", {})):
        registration = {"resolution_mm": 2, "grid": "mni"} if sections else {}
        minimal(tmp_path, registration=registration, **sections)
        wanted[name] = plan(tmp_path, "--configfile", "other.yaml").of("train_fold")[0]["mem_mb"]
    # Measured peaks of a training step: 2.5 GB and 13.1 GB.
    assert 2499 < wanted["small_dataset"] < 6000
    assert 13116 < wanted["rieke2018"] < 20000


def test_explanation_methods_are_exported_lazily():
    script = (
        "import sys, voxelwhy; assert 'torch' not in sys.modules; f = voxelwhy.occlusion; "
        "assert f.__name__ == 'occlusion'; "
        "print([m for m in ('nilearn', 'ants', 'snakemake', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "scripts", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
