"""A machine that bootstrap.sh cannot make ready is left as it is, with one clear message."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from holdfast import paths

_BOOTSTRAP = str(paths.repository() / "bootstrap.sh")
_BULLSEYE = 'ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\n'
_UBUNTU = 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04 LTS"\n'


def refused(*argv: str, path: str = "/usr/bin:/bin") -> str:
    done = subprocess.run(
        argv, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("release", "name"),
    [(_BULLSEYE, "Debian GNU/Linux 11 (bullseye)"), (_UBUNTU, "Ubuntu 24.04 LTS")],
    ids=["bullseye", "ubuntu"],
)
def test_another_system(tmp_path: Path, release: str, name: str) -> None:
    other = tmp_path / "os-release"
    other.write_text(release)
    script = 'mount --bind "$1" /etc/os-release && exec "$2"'
    message = refused("unshare", "--mount", "sh", "-c", script, "sh", str(other), _BOOTSTRAP)
    assert message == f"bootstrap: this is {name}; run on Debian 12 or 13.\n"


def test_neither_root_nor_sudo(tmp_path: Path) -> None:
    for program in ("dirname", "id"):  # all that it needs so far; sudo is not among them
        found = shutil.which(program)
        assert found
        (tmp_path / program).symlink_to(found)
    unshare = shutil.which("unshare")
    assert unshare
    message = refused(unshare, "--user", "/bin/sh", _BOOTSTRAP, path=str(tmp_path))
    assert message == "bootstrap: installing packages needs root; run as root, or install sudo.\n"
