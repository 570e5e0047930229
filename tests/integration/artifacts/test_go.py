"""Commands built from a wrapper module with a replaced dependency: the same bytes everywhere."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.artifacts import BadManifest, NoSpace, Rejected, Unavailable
from holdfast.artifacts.golang import locked_version

if TYPE_CHECKING:
    from conftest import Workshop

# Measured once with the toolchain of requirements/go.txt; a new toolchain needs new ones.
PINS = {
    "hello": {
        "amd64": "bd5b59fae61aba094386ef44f0688bc99e5feef6120fefec3cacec16bd679bbd",
        "arm64": "9c198ae2c4f3b44bdc6846ebdb093cef137f2b24925a46aabe2f4154b171bb6b",
    },
    "full": {
        "amd64": "23fa0025843bed85c29217a3844b6f5465bcc042cb065ca4ba5c8b4f3fd27f48",
        "arm64": "8b57d3fae16b5eac008259405f5faa9047b6786fb40cd1eb50f87de9e880aa92",
    },
    "minimal": {
        "amd64": "20f65add9397a9d54565f60379d4db667f301cdc83a20e8dd761c5c08d604201",
        "arm64": "5747547e6ed8d7d595a4711a3a89ab2aaa429d6f6fde3e5e1f2adf8edec0a5ab",
    },
}
HELLO = "0.0.0-20250915201037-7f05d217867b"


def hello(**changes: Any) -> dict[str, Any]:
    """A command of a dependency of the wrapper."""
    source = {
        "module": "go/wrapper",
        "command": "golang.org/x/example/hello",
        "ldflags": ["-s", "-w"],
        "toolchain": locked_version(),
        "sha256": PINS["hello"],
    }
    return {"go": {**source, **changes}}


def greet(edition: str, **changes: Any) -> dict[str, Any]:
    """A command of the wrapper itself."""
    tags = {"tags": ["minimal"]} if edition == "minimal" else {}
    return hello(**{"command": "./greet", "sha256": PINS[edition], **tags, **changes})


def run(path: object) -> str:
    return subprocess.run([str(path)], capture_output=True, text=True, check=True).stdout


def test_a_command_of_a_dependency_has_the_pinned_bytes(go_workshop: Workshop) -> None:
    found = go_workshop.fetch(hello(), version=HELLO)
    assert run(found.path) == "Hello, world!\n"
    assert found.receipt.source == "go"


@pytest.mark.parametrize("edition", ["full", "minimal"])
def test_replacements_and_build_tags_count(go_workshop: Workshop, edition: str) -> None:
    found = go_workshop.fetch(greet(edition))
    assert run(found.path).splitlines() == [
        "99 bottles of beer on the wall, 99 bottles of beer, ...",  # the replacement's words
        edition,
    ]


def test_another_cpu_is_built_here(go_workshop: Workshop) -> None:
    found = go_workshop.fetch(hello(), version=HELLO, arch="arm64")
    machine = found.path.read_bytes()[18:20]
    assert machine == (183).to_bytes(2, "little")  # EM_AARCH64


def test_another_folder_and_the_operators_go_settings_do_not_change_the_bytes(
    cold_workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOFLAGS", "-tags=minimal")
    monkeypatch.setenv("GOAMD64", "v3")
    monkeypatch.setenv("GOEXPERIMENT", "nogreenteagc")
    cold_workshop.fetch(hello(), version=HELLO)
    left = cold_workshop.cache.folder / "go"
    assert not left.exists(), "modules and half-built packages are dropped when all is done"


def refused(
    workshop: Workshop, kind: type[Exception], words: str, *sources: Any, **how: Any
) -> None:
    with pytest.raises(kind, match=words):
        workshop.fetch(*sources, **how)
    assert workshop.entries() == []


def test_other_bytes_than_pinned_are_refused(go_workshop: Workshop) -> None:
    wrong = {"amd64": "a" * 64, "arm64": "a" * 64}
    refused(go_workshop, Rejected, "do not use it", hello(sha256=wrong), version=HELLO)


def test_a_module_that_go_sum_does_not_know_is_refused(go_workshop: Workshop) -> None:
    go_sum = go_workshop.folder / "go" / "wrapper" / "go.sum"
    go_sum.write_text(go_sum.read_text().replace("h1:+gZE", "h1:+aZE"))
    refused(go_workshop, Rejected, "go.sum", hello(), version=HELLO)


def test_a_go_mod_that_is_not_complete_is_not_completed(go_workshop: Workshop) -> None:
    go_mod = go_workshop.folder / "go" / "wrapper" / "go.mod"
    go_mod.write_text(go_mod.read_text().replace("\trsc.io/quote v1.5.2\n", ""))
    before = go_mod.read_text()
    refused(go_workshop, Unavailable, "import lookup disabled", greet("full"))
    assert go_mod.read_text() == before


def test_a_manifest_version_that_go_mod_does_not_require_is_refused(go_workshop: Workshop) -> None:
    refused(go_workshop, BadManifest, "make them agree", hello(), version="9.9.9")


def test_a_checksum_of_another_toolchain_is_refused(go_workshop: Workshop) -> None:
    refused(go_workshop, BadManifest, "build it again", hello(toolchain="1.2.3"), version=HELLO)


def test_an_unreachable_registry_gives_nothing(
    cold_workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", "off")
    refused(cold_workshop, Unavailable, "does not build", hello(), version=HELLO)


def test_a_disk_that_fills_while_building_is_named(cold_workshop: Workshop) -> None:
    work = cold_workshop.cache.folder / ".work"
    work.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(work)], check=True)
    try:
        refused(cold_workshop, NoSpace, "HOLDFAST_CACHE", hello(), version=HELLO)
    finally:
        subprocess.run(["umount", str(work)], check=True)


def test_the_registry_follows_a_publisher_that_is_not_there(go_workshop: Workshop) -> None:
    release = go_workshop.release(b"the publisher's build")
    go_workshop.publisher.close()
    found = go_workshop.fetch(release, hello(), version=HELLO)
    assert found.receipt.source == "go"
    assert any("release gave nothing" in line for line in go_workshop.said)
