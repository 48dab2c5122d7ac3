"""Code of a person's own that a study uses: where its modules lie, and which of them a change of numbers can come from.

Nothing is imported to find that out.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


def folders() -> list[str]:
    """Where Python looks for modules in a job: PYTHONPATH, then what is installed."""
    return [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *sys.path]


def find_module(name, within=None) -> ModuleSpec | None:
    """Where the module of that dotted name lies, by default in one of `folders`; None where there is none."""
    within, spec = within or folders(), None
    parts = name.split(".")
    for number in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: number + 1]), within)
        if spec is None:
            return None
        within = spec.submodule_search_locations or []
    return spec


def source_files(name) -> dict[str, Path]:
    """The source files behind a module: its own, the packages it lies in, and those that it imports from beside it.

    Of an installed module only its own file; what others installed changes with their version.

    Returns
    -------
    files : dict of dotted name to path; empty where there is no such module.
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
    """Dotted names that a file imports, both readings of `from a import b`.

    `package` is the one that it lies in, by parts, for imports that begin with a dot.
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
