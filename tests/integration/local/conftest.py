"""Two small hosts of their own, in the real state folder: the base image is shared and kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast import paths
from holdfast.installation import Installation
from holdfast.local.machine import inspect
from holdfast.local.podman import Podman

NAME = "itest"
LABEL = ("--filter", f"label=holdfast.installation={NAME}")

# A recipe of its own: smaller, and made anew each time.
MAKE_IMAGE = """
from holdfast.local import images
from holdfast.local.podman import Podman
images._BOOT = images._COMMON = ()
images._HOOK = "true"
print(images.ensure_image(Podman(), release="trixie", packages=["hello"], say=lambda _: None))
"""

_HOSTS = """\
---
all:
  hosts:
    one: {local_release: trixie, local_volumes: [/srv/data], local_names: [panel]}
    two: {local_release: trixie}
"""

Holdfast = Callable[..., "subprocess.CompletedProcess[str]"]


def command(inventory: Path, *argv: str, name: str = NAME) -> list[str]:
    """The command line that works on the test's installation."""
    holdfast = str(Path(sys.executable).with_name("holdfast"))
    return [holdfast, "--name", name, "--inventory", str(inventory), *argv]


def pinned(installation: Installation) -> list[str]:
    lines = (installation.folder / "known_hosts").read_text().splitlines()
    return sorted(line.split(",")[0] for line in lines)


def names(podman: Podman) -> list[str]:
    return sorted(podman("ps", "--all", "--format", "{{.Names}}", *LABEL).split())


@pytest.fixture(scope="session")
def podman() -> Podman:
    """Podman under the project's configuration, to look at what stands."""
    return Podman(inspect(storage=paths.state_folder()))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "hosts.yml").write_text(_HOSTS)
    (folder / "servers").symlink_to(paths.repository() / "inventory" / "local" / "servers")
    return folder


@pytest.fixture
def installation() -> Installation:
    return Installation(NAME)


@pytest.fixture
def holdfast(inventory: Path) -> Iterator[Holdfast]:
    """Run a command of the test's installation; it is destroyed at the end."""

    def run(*argv: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(inventory, *argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done

    yield run
    run("destroy", "--yes")
