"""Hashes of the code that a job's numbers depend on: Snakemake sees a rule's script, but not the package behind it."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

import grimp

import voxelwhy
from voxelwhy.config.own_modules import imports, source_files

#: Modules that change no number: messages, log lines, tables of names (the modules that a config names are counted).
SILENT = {"voxelwhy.errors", "voxelwhy.jobs.logs", "voxelwhy.registry"}
#: Modules that only put numbers and names into words. They count only for scripts that import from REPORT.
WORDS = {"voxelwhy.io.text"}
REPORT = "voxelwhy.report."


def code_digest(script, named=()):
    """Hashes of the code behind one rule.

    Parameters
    ----------
    script : path
        The rule's script, in the folder that holds the package `voxelwhy`.
    named : iterable of str
        Modules that the job loads by a name in the config: a method, a network, a cohort source of the registry, or a
        module of the user's own, with what it imports from its folder (`own_modules.source_files`).

    Returns
    -------
    digest : dict of str to str
        The script itself, the modules it imports and all that these reach, each with the hash of its source without
        comments, docstrings and blank lines. Packages (`__init__`) and the modules of SILENT do not count, and those
        of WORDS count only for a script that writes parts of the report.
    """
    script = Path(script)
    graph, packages = _import_graph(str(script.parent))
    own = {key: path for name in named if name not in graph.modules for key, path in source_files(name).items()}
    scripts = [script, *(path for path in own.values() if path.suffix == ".py")]
    start = {_exported(name) for path in scripts for name in imports(path)} | set(named)
    start &= graph.modules
    reached = set(start)
    for module in start:
        reached |= graph.find_upstream_modules(module)
    silent = SILENT if any(module.startswith(REPORT) for module in reached) else SILENT | WORDS
    digest = {script.name: _hash(script)}
    for module in sorted(reached - packages - silent):
        digest[module] = _hash(script.parent.joinpath(*module.split(".")).with_suffix(".py"))
    return digest | {name: _hash(path) for name, path in sorted(own.items())}


def _exported(name):
    """The module behind a name that the package itself exports (`voxelwhy.load_onnx`); else the name as it is."""
    return voxelwhy._EXPORTS.get(name.removeprefix("voxelwhy."), name)


@lru_cache
def _import_graph(scripts):
    graph = grimp.build_graph("voxelwhy", cache_dir=None)
    packages = {name for name in graph.modules if Path(scripts, *name.split("."), "__init__.py").exists()}
    return graph, packages


@lru_cache
def _hash(path):
    if Path(path).suffix != ".py":
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]
