"""What `make` begins with: an environment, also where an older one is of no use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """#!/bin/sh
echo "$*" >> called
test "$2" = venv || exit 0
for folder; do :; done
rm -rf "$folder"
mkdir -p "$folder/bin"
cp "$0" "$folder/bin/python"
"""


BARE = """#!/bin/sh
echo "$*" >> called
test "$2 $3" != "pip --version"
"""


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("no make here")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    program(tmp_path / "python", PYTHON)
    return tmp_path


def environments_made(clone):
    """How many environments `make` asks for; an installation follows."""
    command = ["make", ".venv/.installed", "PYTHON=./python"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (clone / ".venv" / ".installed").exists()
    called = (clone / "called").read_text().splitlines()
    assert called[-1].startswith("-m pip install")
    return sum(line.startswith("-m venv") for line in called)


def test_an_environment_is_made_once(clone):
    assert environments_made(clone) == 1
    (clone / ".venv" / ".installed").unlink()
    assert environments_made(clone) == 1


NO_PIP = '#!/bin/sh\ntest -z "$2"\n'  # as Debian's venv leaves it without python3-venv


@pytest.mark.parametrize("python", ["#!/bin/sh\nexit 1\n", "#!/gone/python\n", NO_PIP])
def test_an_environment_that_is_of_no_use_is_made_anew(clone, python):
    program(clone / ".venv" / "bin" / "python", python)
    assert environments_made(clone) == 1


def test_one_without_pip_gets_it_and_keeps_what_is_in_it(clone):
    program(clone / ".venv" / "bin" / "python", BARE)
    own = clone / ".venv" / "mine"
    own.touch()
    assert environments_made(clone) == 0
    assert "-m ensurepip" in (clone / "called").read_text().splitlines()
    assert own.exists()
