"""Code of the user's own in a study: where its modules are, and which source files can change the results.

Modules are located and read without importing them.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


def folders() -> list[str]:
    """Return the folders where Python looks for modules in a job: PYTHONPATH, then installed packages."""
    return [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *sys.path]


def find_module(name, within=None) -> ModuleSpec | None:
    """Return the spec of the module with this dotted name, by default in one of `folders`; None if there is none."""
    within, spec = within or folders(), None
    parts = name.split(".")
    for number in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: number + 1]), within)
        if spec is None:
            return None
        within = spec.submodule_search_locations or []
    return spec


def source_files(name) -> dict[str, Path]:
    """Return the source files of a module: its own, those of its packages, and those that it imports from its folder.

    For an installed module, only its own file is returned: installed packages change with their version.

    Returns
    -------
    files : dict of dotted name to path; empty if there is no such module
    """
    top = find_module(name.partition(".")[0])
    if top is None:
        return {}
    home = Path(next(iter(top.submodule_search_locations or []), top.origin)).parent
    installed = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")]
    follow = not any(home.is_relative_to(place) for place in installed)
    files, waiting = {}, [name]
    while waiting:
        spec = find_module(waiting.pop(), [str(home)])
        if spec is None or spec.name in files or not spec.origin:
            continue
        files[spec.name] = Path(spec.origin)
        parts = spec.name.split(".")
        if follow and spec.origin.endswith(".py"):
            waiting += [".".join(parts[:number]) for number in range(1, len(parts))]
            waiting += imports(Path(spec.origin), package=parts if spec.submodule_search_locations else parts[:-1])
    return files


def imports(script, package=()):
    """Yield the dotted names that a file imports; `from a import b` yields both a and a.b.

    `package` holds the parts of the name of the package of the file, for relative imports.
    """
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = list(package[: len(package) - node.level + 1]) if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
