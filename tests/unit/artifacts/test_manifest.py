"""The manifest: everything in it is checked, and every refusal names the place and the fix."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from holdfast.artifacts import BadManifest, default_path, load
from holdfast.artifacts.golang import locked_version
from holdfast.artifacts.manifest import Go, Maven, Release
from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B = "a" * 64, "b" * 64

GOOD: dict[str, Any] = {
    "schema": 1,
    "artifacts": {
        "tool": {
            "version": "1.10",
            "licence": "MPL-2.0 OR Apache-2.0",
            "purpose": "shows the way",
            "file": "tool",
            "executable": True,
            "max_mib": 3,
            "sources": [
                {
                    "release": {
                        "url": "https://publisher.example/{version}/tool_{arch}.zip",
                        "arch_names": {"amd64": "x64", "arm64": "aarch64"},
                        "member": "tool-{version}/tool",
                        "sha256": {"amd64": A},
                        "signature": {
                            "url": "https://publisher.example/SUMS.sig",
                            "checksums": "https://publisher.example/SUMS",
                            "key": "keys/publisher.asc",
                            "fingerprint": "0123456789ABCDEF0123456789ABCDEF01234567",
                        },
                    }
                },
                {
                    "go": {
                        "module": "go/tool",
                        "command": "publisher.example/tool/v2/cmd/tool",
                        "tags": ["minimal"],
                        "ldflags": ["-s", "-w"],
                        "toolchain": "1.27.3",
                        "sha256": {"amd64": A, "arm64": B},
                    }
                },
                {"maven": {"coordinates": "example.publisher:tool:{version}:zip", "sha256": B}},
            ],
        }
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("keys/publisher.asc", "go/tool/go.mod", "go/tool/go.sum"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def written(folder: Path, content: object) -> Path:
    path = folder / "manifest.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_all_three_kinds_are_read(folder: Path) -> None:
    tool = load(written(folder, GOOD)).artifacts["tool"]
    release, go, maven = tool.sources
    assert (tool.version, tool.max_bytes, tool.mode) == ("1.10", 3 * 1024**2, 0o755)
    assert isinstance(release, Release)
    assert release.address(release.url, "amd64") == "https://publisher.example/1.10/tool_x64.zip"
    assert release.member == "tool-1.10/tool"
    assert (release.pin("amd64"), release.pin("arm64")) == (A, None)
    assert isinstance(go, Go)
    assert (go.module, go.pin("arm64")) == (folder / "go" / "tool", B)
    assert isinstance(maven, Maven)
    assert (maven.coordinates, maven.pin("arm64")) == ("example.publisher:tool:1.10:zip", B)


def test_an_empty_manifest_is_one(folder: Path) -> None:
    assert load(written(folder, {"schema": 1, "artifacts": {}})).choose(()) == []


def tool(content: dict[str, Any]) -> dict[str, Any]:
    return content["artifacts"]["tool"]


def source(content: dict[str, Any], index: int, kind: str) -> dict[str, Any]:
    return tool(content)["sources"][index][kind]


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another schema": (lambda c: c.update(schema=2), "schema is 2"),
    "an unknown key at the top": (lambda c: c.update(artefacts={}), "'artefacts' is unknown"),
    "an unknown key": (lambda c: tool(c).update(lisence="MIT"), "tool: 'lisence' is unknown"),
    "a missing licence": (lambda c: tool(c).pop("licence"), "'licence' is missing"),
    "no sources": (lambda c: tool(c).update(sources=[]), "at least one source"),
    "a bad name": (lambda c: c["artifacts"].update({"Tool": {}}), r"artifacts\.Tool"),
    "a path as file": (lambda c: tool(c).update(file="../tool"), r"tool\.file"),
    "a hidden file": (lambda c: tool(c).update(file=".tool"), r"tool\.file"),
    "a number as version": (lambda c: tool(c).update(version=1.10), "put it in quotes"),
    "a folder as version": (lambda c: tool(c).update(version="../1"), r"tool\.version"),
    "text as a flag": (lambda c: tool(c).update(executable="yes"), "true or false"),
    "no size": (lambda c: tool(c).update(max_mib=0), "whole number"),
    "an unknown kind": (lambda c: tool(c)["sources"].append({"npm": {}}), r"sources\[3\]"),
    "two kinds in one": (
        lambda c: tool(c)["sources"][1].update(maven={}),
        "exactly one key",
    ),
    "a missing checksum": (lambda c: source(c, 2, "maven").pop("sha256"), "'sha256' is missing"),
    "a short checksum": (lambda c: source(c, 2, "maven").update(sha256="abc"), "64 of 0-9"),
    "a checksum in capitals": (lambda c: source(c, 2, "maven").update(sha256="A" * 64), "64 of"),
    "a checksum for no CPU": (lambda c: source(c, 1, "go").update(sha256={"mips": A}), "mips"),
    "one checksum for files that differ": (
        lambda c: source(c, 0, "release").update(sha256=A),
        "each CPU has a file of its own",
    ),
    "one checksum for builds that differ": (
        lambda c: source(c, 1, "go").update(sha256=A),
        "each CPU has a file of its own",
    ),
    "an http address": (
        lambda c: source(c, 0, "release").update(url="http://publisher.example/tool"),
        "https://",
    ),
    "a login in the address": (
        lambda c: source(c, 0, "release").update(url="https://me:pw@publisher.example/{arch}"),
        "https://",
    ),
    "no signature": (lambda c: source(c, 0, "release").pop("signature"), "'signature' is missing"),
    "a short fingerprint": (
        lambda c: source(c, 0, "release")["signature"].update(fingerprint="89ABCDEF"),
        "all 40",
    ),
    "a key that is not there": (
        lambda c: source(c, 0, "release")["signature"].update(key="keys/other.asc"),
        "is missing; commit it",
    ),
    "a key from elsewhere": (
        lambda c: source(c, 0, "release")["signature"].update(key="../../etc/passwd"),
        "keep it inside",
    ),
    "a wrapper without go.sum": (
        lambda c: source(c, 1, "go").update(module="keys"),
        "go.mod is missing",
    ),
    "an option as command": (lambda c: source(c, 1, "go").update(command="-toolexec=x"), "command"),
    "a tag with an option": (lambda c: source(c, 1, "go").update(tags=["a -x"]), "tags"),
    "text where a list must be": (lambda c: source(c, 1, "go").update(ldflags="-s"), "a list"),
    "a vague toolchain": (lambda c: source(c, 1, "go").update(toolchain="1.27"), "Go version"),
    "short coordinates": (
        lambda c: source(c, 2, "maven").update(coordinates="publisher:tool"),
        "GROUP:NAME:VERSION:TYPE",
    ),
    "an option in coordinates": (
        lambda c: source(c, 2, "maven").update(coordinates="a:b:1:jar,-Dx"),
        "GROUP:NAME:VERSION:TYPE",
    ),
}


@pytest.mark.parametrize("defect", BAD)
def test_a_defect_is_refused_by_name(folder: Path, defect: str) -> None:
    spoil, words = BAD[defect]
    content = copy.deepcopy(GOOD)
    spoil(content)
    with pytest.raises(BadManifest, match=words) as caught:
        load(written(folder, content))
    assert str(folder / "manifest.yml") in str(caught.value)


def test_a_key_given_twice_is_refused(folder: Path) -> None:
    with pytest.raises(BadManifest, match="'schema' is given twice"):
        load(written(folder, "schema: 1\nschema: 2\nartifacts: {}\n"))


@pytest.mark.parametrize("text", ["", "[]", "schema: [", "!!python/name:os.system {}"])
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(BadManifest):
        load(written(folder, text))


def test_a_manifest_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="restore it"):
        load(tmp_path / "manifest.yml")


def test_an_unknown_name_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(Error, match="choose from: tool"):
        load(written(folder, GOOD)).choose(("tol",))


def test_this_repositorys_manifest_is_good_and_fits_the_locked_toolchain() -> None:
    for artifact in load(default_path()).artifacts.values():
        for source_ in artifact.sources:
            if isinstance(source_, Go):
                assert source_.toolchain == locked_version(), artifact.name


def test_no_checksum_of_this_repository_waits_to_be_filled_in() -> None:
    for artifact in load(default_path()).artifacts.values():
        for source_ in artifact.sources:
            assert "0" * 64 not in source_.sha256.values(), artifact.name
