import pytest

from buildex.errors import OutputError
from buildex.io.output import beside, check_output
from buildex.io.partial import Partial


@pytest.fixture
def partial(tmp_path):
    folder = Partial(tmp_path / "out")
    folder.start({"options": 1})
    return folder


def test_a_run_with_the_same_plan_is_continued(partial):
    partial.put("a/1_2", {"image": "x.png"})
    again = Partial(partial.final)
    assert again.start({"options": 1})
    assert again.record("a/1_2") == {"image": "x.png"}


def test_a_run_with_another_plan_starts_clean(partial):
    partial.put("a/1_2", {"image": "x.png"})
    again = Partial(partial.final)
    assert not again.start({"options": 2})
    assert again.record("a/1_2") is None


def test_a_damaged_record_counts_for_nothing(partial):
    partial.write("records/a.json", b"{")
    assert partial.record("a") is None


def test_what_cannot_be_written_is_told_and_what_is_done_stays(partial):
    partial.put("a", {"image": "x.png"})
    (partial.path / "images").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        partial.write("images/b.png", b"2")
    assert partial.record("a") == {"image": "x.png"}


def test_only_the_named_files_reach_the_place(partial, tmp_path):
    partial.write("images/a.png", b"1")
    partial.write("images/b.png", b"2")
    partial.put("a", {})
    partial.finish(["images/a.png"])
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["out/images/a.png"]
    assert not (tmp_path / "out" / "records").exists()


def test_an_older_folder_is_replaced_as_a_whole(partial, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    partial.write("new", b"")
    partial.finish(["new"])
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_place_in_which_nothing_can_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        Partial(tmp_path / "file" / "out").start({})


def test_outputs_are_checked(tmp_path):
    check_output(tmp_path / "new")
    (tmp_path / "old").touch()
    check_output(tmp_path / "old", overwrite=True)
    with pytest.raises(OutputError, match="exists already"):
        check_output(tmp_path / "old")
    with pytest.raises(OutputError, match="does not exist; make it first"):
        check_output(tmp_path / "no" / "new")


def test_a_file_appears_when_it_is_complete(tmp_path):
    with beside(tmp_path / "a.txt") as place:
        place.write_text("done")
        assert not (tmp_path / "a.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def write_half(path):
    with beside(path) as place:
        place.write_text("half")
        raise KeyError


def test_after_an_error_nothing_is_left_but_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyError):
        write_half(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
