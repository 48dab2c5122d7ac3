"""Columns and schemas of tables: short names for what pandera spells out."""

from __future__ import annotations

import pandera.pandas as pa


def text(**options):
    """A column of text."""
    return pa.Column(str, coerce=True, **options)


def real(**options):
    """A column of numbers."""
    return pa.Column(float, coerce=True, **options)


def whole(**options):
    """A column of whole numbers."""
    return pa.Column(int, coerce=True, **options)


def fraction(**options):
    """A column of numbers from 0 to 1."""
    return real(checks=pa.Check.in_range(0, 1), **options)


def schema(columns, unique=None):
    """A table with exactly these columns, in this order; `unique` names the columns that identify a row."""
    return pa.DataFrameSchema(columns, strict=True, ordered=True, unique=unique)
