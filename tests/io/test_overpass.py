from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import shapely

import buildex
from buildex.errors import ConfigError, NetworkError
from buildex.io.overpass import Endpoint, ask_buildings, cache_folder, query_of, split
from tests.io.elements import EAST, NORTH, UNIT
from tests.io.overpass_server import BOX, STAMP, Reply, Server, serving

STREET = (EAST - 20 * UNIT, NORTH - 20 * UNIT, EAST + 200 * UNIT, NORTH + 100 * UNIT)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


class Waits(list[float]):
    """Stands in for sleeping, and remembers for how long."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def endpoint(server: Server, waits: Waits | None = None, cache: Path | None = None, **options):
    sleep = Waits() if waits is None else waits
    return Endpoint(url=server.url, cache=cache, sleep=sleep, timeout=5, **options)


def elements(answer) -> list[tuple[str, int]]:
    columns = answer.claims.columns
    return list(zip(columns["osm_type"], columns["osm_id"].tolist(), strict=True))


def test_an_answer_becomes_claims(server):
    answer = ask_buildings(endpoint(server), STREET)
    assert ("relation", 5) in elements(answer)
    assert ("way", 180) in elements(answer)
    assert (answer.requests, answer.cached, answer.timestamp) == (1, 0, STAMP)
    assert server.agents == [
        f"buildex/{buildex.__version__} (building footprints from drone mosaics)"
    ]


def test_a_second_run_needs_no_network(server, tmp_path):
    first = ask_buildings(endpoint(server, cache=tmp_path / "deep" / "cache"), STREET)
    again = ask_buildings(endpoint(server, cache=tmp_path / "deep" / "cache"), STREET)
    assert len(server.asked) == 1
    assert (again.requests, again.cached, again.timestamp) == (0, 1, STAMP)
    assert elements(again) == elements(first)
    assert shapely.equals(first.claims.geometry, again.claims.geometry).all()
    # Another area, another server and no cache ask anew.
    ask_buildings(endpoint(server, cache=tmp_path / "deep" / "cache"), (36.0, -1.01, 36.01, -1.0))
    ask_buildings(endpoint(server), STREET)
    assert len(server.asked) == 3


def test_a_damaged_answer_in_the_cache_is_asked_for_again(server, tmp_path):
    ask_buildings(endpoint(server, cache=tmp_path), STREET)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-20])
    answer = ask_buildings(endpoint(server, cache=tmp_path), STREET)
    assert (len(server.asked), answer.requests) == (2, 1)
    assert [file.suffix for file in tmp_path.iterdir()] == [".gz"]


def test_a_cache_that_cannot_be_written_costs_a_request_only(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    answer = ask_buildings(endpoint(server, cache=tmp_path / "file" / "cache"), STREET)
    assert answer.requests == 1


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "buildex" / "overpass"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "buildex" / "overpass"


def test_a_busy_server_is_given_as_long_as_it_asks_for(server):
    server.replies = [
        Reply(429, headers={"Retry-After": "7"}),
        Reply(504),
        Reply(503, headers={"Retry-After": "nonsense"}),
    ]
    waits = Waits()
    answer = ask_buildings(endpoint(server, waits), STREET)
    assert waits == [7, 4, 8]
    assert len(server.asked) == 4
    assert answer.requests == 1


def test_a_date_to_come_back_at_is_understood(server):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server.replies = [Reply(429, headers={"Retry-After": later})]
    waits = Waits()
    ask_buildings(endpoint(server, waits), STREET)
    assert 20 < waits[0] <= 30


def test_a_server_that_wants_an_hour_is_left_alone(server):
    server.replies = [Reply(429, headers={"Retry-After": "3600"})]
    with pytest.raises(NetworkError, match=r"busy \(429 .*asks to wait 3600 s; try again then"):
        ask_buildings(endpoint(server), STREET)
    assert len(server.asked) == 1


def test_waits_double_and_end(server):
    server.judge = lambda query: Reply(504)
    waits = Waits()
    with pytest.raises(NetworkError, match=r"does not answer after 7 attempts: 504 .*; check"):
        ask_buildings(endpoint(server, waits, retries=6), STREET)
    assert waits == [2, 4, 8, 16, 32, 60]


def test_a_connection_that_breaks_is_tried_again(server):
    server.replies = [Reply(hang_up=True), Reply(hang_up=True)]
    waits = Waits()
    assert ask_buildings(endpoint(server, waits), STREET).requests == 1
    assert waits == [2, 4]


def test_nobody_there_is_told_in_the_end():
    with serving() as gone:
        pass
    waits = Waits()
    with pytest.raises(NetworkError, match=r"does not answer after 2 attempts: .*refused"):
        ask_buildings(endpoint(gone, waits, retries=1), STREET)


def test_a_refusal_is_final_and_told_without_markup(server):
    page = b"<html><body><p><strong>Error</strong>: line 1: parse error</p></body></html>"
    server.replies = [Reply(400, page)]
    with pytest.raises(NetworkError, match="refuses: 400 Bad Request: Error : line 1: parse error"):
        ask_buildings(endpoint(server), STREET)
    assert len(server.asked) == 1


def test_a_page_for_people_is_no_answer(server, tmp_path):
    server.replies = [Reply(200, b"<html>Welcome to <b>nginx</b></html>")]
    with pytest.raises(NetworkError, match=r"no Overpass JSON: Welcome to nginx; .*--endpoint"):
        ask_buildings(endpoint(server, cache=tmp_path), STREET)
    assert list(tmp_path.iterdir()) == []


def test_large_areas_are_split_and_what_lies_on_a_seam_is_one(server):
    side = 60 * UNIT * 111_000  # metres; buildings lie on the seams
    waits = Waits()
    whole = ask_buildings(endpoint(server), STREET)
    server.asked.clear()
    parted = ask_buildings(endpoint(server, waits), STREET, side)
    assert len(server.asked) == parted.requests == len(split(STREET, side)) == 8
    assert elements(parted) == elements(whole)
    assert waits == [1.0] * 7
    assert server.busiest == 1


def test_a_part_that_is_too_much_is_asked_for_in_quarters(server, tmp_path):
    box = (36.75, -1.32, 36.85, -1.24)
    large = query_of(box, 5)
    said = {
        "elements": [],
        "remark": 'runtime error: Query timed out in "query" at line 2 after 6 s',
    }
    server.judge = lambda query: Reply(body=json.dumps(said).encode()) if query == large else None
    answer = ask_buildings(endpoint(server, cache=tmp_path), box, side=20_000)
    assert answer.requests == 5
    assert ("way", 1) in elements(answer)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_server_that_always_gives_up_is_left_in_the_end(server):
    said = {"elements": [], "remark": "runtime error: Query run out of memory using about 2 GB."}
    server.judge = lambda query: Reply(body=json.dumps(said).encode())
    with pytest.raises(NetworkError, match=r"gives up: .*out of memory"):
        ask_buildings(endpoint(server), (36.8, -1.28, 36.81, -1.27))
    assert len(server.asked) <= 4


def test_another_remark_is_an_error(server):
    said = {"elements": [], "remark": "runtime error: open64: 2 No such file"}
    server.replies = [Reply(body=json.dumps(said).encode())]
    with pytest.raises(NetworkError, match="reports: runtime error: open64"):
        ask_buildings(endpoint(server), STREET)


def test_a_box_past_the_180th_meridian_is_asked_for_on_both_sides(server):
    ask_buildings(endpoint(server), (179.99, -17.01, -179.99, -17.0))
    asked = [[float(v) for v in BOX.search(query).groups()] for query in server.asked]
    assert sorted(asked) == [[-17.01, -180, -17.0, -179.99], [-17.01, 179.99, -17.0, 180]]


def test_a_country_is_refused_before_anybody_is_asked(server):
    with pytest.raises(ConfigError, match=r"needs \d+ queries, more than 400; take an extract"):
        ask_buildings(endpoint(server), (33.9, -4.7, 41.9, 5.0))
    assert server.asked == []


def test_only_web_addresses_are_asked():
    with pytest.raises(ConfigError, match="give a URL"):
        Endpoint(url="file:///etc/passwd")


@pytest.mark.parametrize("box", [(36.8, -1.3, 36.9, -1.2), (10.0, 59.9, 10.3, 60.0)])
def test_parts_cover_the_box_and_none_is_too_large(box):
    parts = split(box, 3000)
    assert shapely.union_all([shapely.box(*part) for part in parts]).area == pytest.approx(
        shapely.box(*box).area
    )
    for west, south, east, north in parts:
        assert (north - south) * 110_500 < 3001
        assert (east - west) * 111_400 * (0.51 if south > 50 else 1) < 3001
