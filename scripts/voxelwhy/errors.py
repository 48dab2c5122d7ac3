"""Errors for people: what is wrong, where it stands, what was found, what is allowed, what to do."""

from __future__ import annotations


class VoxelwhyError(Exception):
    """Something that the person at the keyboard can mend; shown without a traceback."""


class InputError(VoxelwhyError):
    """A table, file or setting that cannot be used.

    Parameters
    ----------
    problem : str
        One sentence that says what is wrong.
    file, row, column : optional
        Where it stands. `row` is the line of the file, the header being line 1.
    found, allowed, hint : optional
        The offending value, what would be accepted, and what to do about it.
    """

    def __init__(self, problem, *, file=None, row=None, column=None, found=None, allowed=None, hint=None):
        lines = [problem]
        where = [f"file {file}" if file is not None else "", f"row {row}" if row is not None else ""]
        where.append(f"column {column}" if column is not None else "")
        if any(where):
            lines.append("  where:   " + ", ".join(part for part in where if part))
        if found is not None:
            lines.append(f"  found:   {found!r}")
        if allowed is not None:
            lines.append(f"  allowed: {allowed if isinstance(allowed, str) else ', '.join(map(str, allowed))}")
        if hint is not None:
            lines.append(f"  to do:   {hint}")
        super().__init__("\n".join(lines))
        self.problem, self.found = problem, found


class ConfigError(InputError):
    """A setting of the study's config file that cannot be used."""


class ShapeError(VoxelwhyError, ValueError):
    """Images, masks or weights whose shapes or grids do not belong together."""


class ModelError(VoxelwhyError, ValueError):
    """A network that cannot be built, loaded or explained as asked."""
