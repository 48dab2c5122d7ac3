"""The relevance of shuffled diagnoses: joined over folds, and regions compared with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from voxelwhy.evaluation.draws import compare_regions, join_folds
from voxelwhy.io.tables import REGIONS, read_table, write_table


def part(fold, draw, values, counts, method="m"):
    facts = {"fold": fold, "draw": draw, "method": method, "region_id": range(1, len(values) + 1)}
    return pd.DataFrame(facts | {"enrichment": values, "n_subjects": counts})


def test_folds_count_by_their_subjects():
    """By hand: 1 subject with 4 and 3 subjects with 2 have a mean of 2.5, and not the 3 of two folds."""
    tables = [part(0, 1, [4.0, 1.0], [1, 1]), part(1, 1, [2.0, 5.0], [3, 3])]
    joined = join_folds(tables)["m"]
    assert joined.loc[1].tolist() == [(4 * 1 + 2 * 3) / 4, (1 * 1 + 5 * 3) / 4]
    assert joined.loc[1, 1] != np.mean([4, 2])


def test_a_fold_in_which_nobody_has_a_value_does_not_count():
    tables = [part(0, 1, [np.nan, np.nan], [0, 0]), part(1, 1, [2.0, np.nan], [3, 0])]
    joined = join_folds(tables)["m"]
    assert joined.loc[1, 1] == 2 and np.isnan(joined.loc[1, 2])


def test_draws_and_methods_of_several_parts_are_told_apart():
    """A part of draws 1 and 2, and one of draw 3, of two methods in two folds."""
    tables = [
        pd.concat(
            [part(fold, draw, [draw + fold, 10.0 * draw], [1, 1], method=m) for draw in draws for m in ("m", "k")]
        )
        for fold in (0, 1)
        for draws in ((1, 2), (3,))
    ]
    joined = join_folds(tables)
    assert list(joined) == ["k", "m"]
    for table in joined.values():
        assert table.index.tolist() == [1, 2, 3] and table.columns.tolist() == [1, 2]
        assert table[1].tolist() == [1.5, 2.5, 3.5] and table[2].tolist() == [10, 20, 30]


def regions_of(enrichment, group):
    n = len(enrichment)
    facts = {"group": group, "region_id": range(1, n + 1), "region": [f"r{k}" for k in range(n)], "n_subjects": 8}
    facts |= {"n_scans": 8, "volume_mm3": 8.0, "enrichment": enrichment, "n_shuffled": 0, "rank": range(1, n + 1)}
    return pd.DataFrame(facts).reindex(columns=list(REGIONS.columns))


def test_regions_are_compared_with_the_draws_by_hand(tmp_path):
    """Three regions and four draws. The second region is as high in all draws as in the study."""
    observed, draws = [3.0, 5.0, 1.0], [[1.0, 5.0, 2.0], [2.0, 5.0, 0.5], [1.5, 5.0, 0.9], [0.5, 5.0, 1.2]]
    table = pd.concat([regions_of(observed, "AD"), regions_of([9.0, 9.0, 9.0], "CN")], ignore_index=True)
    frame = pd.DataFrame(draws, index=[1, 2, 3, 4], columns=[1, 2, 3])
    found = compare_regions(table, frame, group="AD")
    write_table(found, tmp_path / "regions.tsv", REGIONS)
    assert read_table(tmp_path / "regions.tsv", REGIONS)["p"].notna().sum() == 3
    own = found[found["group"] == "AD"]
    assert own["shuffled_mean"].tolist() == pytest.approx([1.25, 5, 1.15])
    assert own["shuffled_sd"].tolist() == pytest.approx(np.std(draws, axis=0, ddof=1).tolist())
    assert (own["n_shuffled"] == 4).all()
    together = np.array([observed, *draws])
    first, third = (together[:, k] for k in (0, 2))
    z = [(first - first.mean()) / first.std(ddof=1), 0 * first, (third - third.mean()) / third.std(ddof=1)]
    assert own["z"].tolist() == pytest.approx([z[0][0], 0, z[2][0]])
    assert own["p"].tolist() == [1 / 5, 1, 3 / 5]
    largest = np.max(z, axis=0)
    assert own["p_family"].tolist() == [(1 + (largest[1:] >= value[0]).sum()) / 5 for value in z]
    # Other groups, and what was in the table before, stay as they are.
    others = found[found["group"] == "CN"]
    assert others[["z", "p", "p_family", "shuffled_mean"]].isna().all(axis=None) and (others["n_shuffled"] == 0).all()
    assert found[["enrichment", "rank", "region"]].equals(table[["enrichment", "rank", "region"]])
    # Ranked by enrichment alone, the region that no diagnosis explains is the first.
    assert own["enrichment"].idxmax() == 1 and own["p_family"].idxmin() == 0


def test_draws_are_matched_to_regions_by_their_ids():
    table = regions_of([3.0, 1.0], "AD")
    frame = pd.DataFrame([[0.0, 2.0], [0.5, 2.5]], index=[1, 2], columns=[2, 1])
    assert compare_regions(table, frame, group="AD")["shuffled_mean"].tolist() == [2.25, 0.25]


def test_one_draw_has_no_standard_deviation_and_none_leaves_the_table():
    table = regions_of([3.0, 1.0], "AD")
    assert compare_regions(table, None, group="AD").equals(table)
    found = compare_regions(table, pd.DataFrame([[1.0, 2.0]], index=[1], columns=[1, 2]), group="AD")
    assert found["shuffled_sd"].isna().all() and found["p"].tolist() == [0.5, 1]
