"""Where things lie in the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SCRIPTS = ROOT / "scripts"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
PROFILE = ROOT / "workflow" / "profiles" / "slurm" / "config.yaml"
