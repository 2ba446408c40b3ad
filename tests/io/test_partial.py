from pathlib import Path

import pytest

from buildex.errors import OutputError
from buildex.io.output import beside, check_output
from buildex.io.partial import Partial


@pytest.fixture
def partial(tmp_path):
    folder = Partial(tmp_path / "out")
    with folder.held():
        folder.start({"options": 1})
        yield folder


def shown(folder):
    """Names in a folder, but for what locks a place while it is held."""
    return sorted(path.name for path in folder.iterdir() if ".lock" not in path.name)


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


def test_what_is_no_lock_in_its_place_is_told_and_can_be_removed(tmp_path):
    lock = tmp_path / ".out.partial.lock"
    lock.write_bytes(b"no database" * 100)
    with pytest.raises(OutputError) as caught, Partial(tmp_path / "out").held():
        pass
    assert str(lock) in caught.value.message
    assert caught.value.hint == "remove it, then give the same command again"
    lock.unlink()
    with Partial(tmp_path / "out").held():
        pass


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
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")] == [
        "out/images/a.png"
    ]
    assert shown(tmp_path / "out") == ["images"]


def test_an_older_folder_is_replaced_as_a_whole(partial, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    partial.write("new", b"")
    partial.finish(["new"])
    assert shown(tmp_path / "out") == ["new"]
    assert shown(tmp_path) == ["out"]


def test_what_only_bears_the_names_of_ours_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    mine = [tmp_path / "out.old" / "thesis.txt", tmp_path / "out.partial" / "thesis.txt"]
    for path in mine:
        path.parent.mkdir()
        path.touch()
    with pytest.raises(OutputError, match=r"out.partial` is in the way.*; move it"):
        run(tmp_path)
    assert all(path.exists() for path in mine)
    mine[1].unlink()
    run(tmp_path)
    assert mine[0].exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.old"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]


def run(folder):
    partial = Partial(folder / "out")
    with partial.held():
        partial.start({})
        partial.write("new", b"")
        partial.put("a", {})
        partial.finish(["new"])


def test_an_older_folder_stays_where_the_new_one_cannot_be_moved(partial, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    rename = Path.rename

    def refuse(path, target):
        if path == partial.path:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match=r"out` cannot be written: Input/output error"):
        partial.finish([])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old"]
    assert shown(tmp_path) == ["out", "out.partial"]


def test_what_could_not_be_moved_waits_and_the_older_one_is_not_lost(tmp_path, monkeypatch):
    run(tmp_path)
    rename, partial = Path.rename, Partial(tmp_path / "out")

    def refuse(path, target):
        if target == partial.final:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    with monkeypatch.context() as patched, partial.held():
        partial.start({"options": 2})
        partial.write("newer", b"")
        partial.put("a", {})
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(OutputError, match=r"the older one is in `.*/\.out-.*/out`: move it"):
            partial.finish(["newer"])
    assert partial.record("a") == {}
    assert [path.name for path in tmp_path.glob(".out-*/out/*")] == ["new"]
    with partial.held():
        assert partial.start({"options": 2})
        partial.finish(["newer"])
    assert shown(tmp_path / "out") == ["newer"]


def test_clearing_what_another_run_left_can_be_repeated(tmp_path, monkeypatch):
    partial = Partial(tmp_path / "out")
    with partial.held():
        partial.start({"options": 1})
        partial.write("images/a.png", b"1")
        partial.put("a", {})
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", lambda *_, **__: raised(PermissionError(13, "Denied")))
        with pytest.raises(OutputError, match="cannot be cleared: Denied"), partial.held():
            partial.start({"options": 2})
    with partial.held():
        assert not partial.start({"options": 2})
    assert not partial.path.exists()


def raised(error):
    raise error


def test_two_runs_do_not_share_a_place(partial, tmp_path):
    partial.put("a", {})
    with pytest.raises(OutputError, match="in use by another run; wait"):
        run(tmp_path)
    assert partial.record("a") == {}


def test_a_run_that_finished_nothing_leaves_nothing(tmp_path):
    partial = Partial(tmp_path / "out")
    with partial.held():
        partial.start({})
    assert not partial.path.exists()
    with partial.held():
        partial.start({})
        partial.put("a/1_2", {})
    assert partial.path.exists()


def test_a_place_in_which_nothing_can_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        run(tmp_path / "file")


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
