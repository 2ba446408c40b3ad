from __future__ import annotations

import sqlite3

import numpy as np
import pyarrow as pa
import pytest
import shapely

from buildex.errors import OutputError
from buildex.geo.footprints import object_array
from buildex.geo.sightings import Sightings
from buildex.io.journal import Journal, SeenRow
from buildex.io.sighted import from_table, to_table

PLAN = {"mosaic": {"bytes": 5}, "options": {"gap": 0.1}}


def batch(*numbers):
    return pa.RecordBatch.from_pydict({"n": pa.array(numbers, type=pa.int64())})


def test_rows_and_buildings_are_there_when_it_is_opened_again(tmp_path):
    out = tmp_path / "a.gpkg"
    with Journal.opened(out, PLAN) as journal:
        journal.put(SeenRow(0, 4, batch(1, 2)), batch(7))
        journal.put(SeenRow(2, 3, batch()), batch())
    with Journal.opened(out, PLAN) as journal:
        rows = list(journal.rows())
        assert [(row.number, row.tiles) for row in rows] == [(0, 4), (2, 3)]
        assert rows[0].seen.equals(batch(1, 2))
        assert journal.tiles() == [4, 3]
        journal.put_last(9, batch(8, 9))
        assert [part.num_rows for part in journal.layer()] == [1, 0, 2]
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_one_without_a_finished_row_leaves_nothing(tmp_path):
    with Journal.opened(tmp_path / "a.gpkg", PLAN):
        assert Journal.of(tmp_path / "a.gpkg").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_row_and_its_buildings_are_committed_together(tmp_path, monkeypatch):
    out = tmp_path / "a.gpkg"

    def fails(*args):
        raise sqlite3.OperationalError("database or disk is full")

    with Journal.opened(out, PLAN) as journal:
        journal.put(SeenRow(0, 1, batch(1)), batch(1))
        monkeypatch.setattr(journal, "_put_layer", fails)
        with pytest.raises(OutputError, match="disk is full; make room"):
            journal.put(SeenRow(1, 1, batch(1)), batch(1))
    with Journal.opened(out, PLAN) as journal:
        assert [row.number for row in journal.rows()] == [0]


def test_another_plan_is_refused_and_what_differs_is_named(tmp_path):
    out = tmp_path / "a.gpkg"
    with Journal.opened(out, PLAN) as journal:
        journal.put(SeenRow(0, 1, batch(1)), batch(1))
    other = {**PLAN, "options": {"gap": 0.2}}
    with (
        pytest.raises(OutputError, match=r"another options gap \(0.1, now 0.2\)"),
        Journal.opened(out, other),
    ):
        pass
    with Journal.opened(out, other, restart=True) as journal:
        assert journal.tiles() == []


def test_a_file_that_is_no_journal_is_told_and_replaced_only_when_asked(tmp_path):
    out = tmp_path / "a.gpkg"
    Journal.of(out).write_bytes(b"no database" * 100)
    with pytest.raises(OutputError, match=r"no journal: .*; remove it"), Journal.opened(out, PLAN):
        pass
    with Journal.opened(out, PLAN, restart=True) as journal:
        assert journal.tiles() == []


def test_an_output_is_known_by_its_stamp(tmp_path):
    out = tmp_path / "a.gpkg"
    (tmp_path / "made").write_bytes(b"12345")
    with Journal.opened(out, PLAN) as journal:
        journal.promise(tmp_path / "made")
        assert not journal.kept(out)
        (tmp_path / "made").rename(out)
        assert journal.kept(out)
        out.write_bytes(b"other")
        assert not journal.kept(out)


@pytest.mark.parametrize("count", [0, 3])
def test_sightings_come_back_to_the_last_bit(count):
    rng = np.random.default_rng(2)
    shapes = object_array([shapely.Polygon(rng.random((4, 2))).convex_hull for _ in range(count)])
    fours = rng.random((count, 4))
    seen = Sightings(
        shapes, rng.random(count), rng.random(count), fours, fours + 1, rng.random(count) < 0.5,
        rng.random(count) < 0.5,
    )  # fmt: skip
    back = from_table(to_table(seen))
    assert len(back) == count
    for name in ("scores", "sure", "boxes", "cores", "cut", "edge"):
        one, two = getattr(back, name), getattr(seen, name)
        assert one.dtype == two.dtype
        assert np.array_equal(one, two)
    assert shapely.to_wkb(back.polygons).tolist() == shapely.to_wkb(seen.polygons).tolist()


def test_a_journal_damaged_within_is_one_clear_error(tmp_path):
    out = tmp_path / "a.gpkg"
    with Journal.opened(out, PLAN) as journal:
        for number in range(40):
            journal.put(SeenRow(number, 4, batch(*range(300))), batch(*range(200)))
    whole = Journal.of(out).read_bytes()
    hints = []
    for start in range(4096, len(whole), 4096):
        Journal.of(out).write_bytes(whole[:start] + b"\7" * 4096 + whole[start + 4096 :])
        try:
            with Journal.opened(out, PLAN) as journal:
                list(journal.rows()), journal.tiles(), list(journal.layer())
        except OutputError as error:
            hints.append(str(error.hint))
    assert len(hints) > 5
    assert all("remove it" in hint or "continues" in hint for hint in hints)
