"""Files from the Maven registry: a jar, a zip with a classifier, a member of it."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.artifacts import Rejected, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Workshop

ZIP = {
    "coordinates": "org.apache.maven.wrapper:maven-wrapper-distribution:{version}:zip:script",
    "sha256": "fa151b4a3af92f6eab19a8358f77055667196a52ed2f62de96a151f6ad1c00e4",
}
JAR = {
    "coordinates": "org.hamcrest:hamcrest:{version}:jar",
    "sha256": "5d66b6a4a680755cb6ed7cb104fa7835ef644667586ff0737adeb977c39ecdbc",
}


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Maven keeps its plug-ins once for all tests."""
    return tmp_path_factory.mktemp("maven")


@pytest.fixture
def maven_workshop(workshop: Workshop, repository: Path) -> Workshop:
    workshop.cache.folder.mkdir(parents=True)
    (workshop.cache.folder / "maven").symlink_to(repository)
    return workshop


def refused(workshop: Workshop, kind: type[Exception], words: str, source: dict[str, Any]) -> None:
    with pytest.raises(kind, match=words):
        workshop.fetch({"maven": source}, version="3.3.2", executable=False)
    assert workshop.entries() == []


def test_a_zip_with_a_classifier_is_fetched(maven_workshop: Workshop) -> None:
    found = maven_workshop.fetch({"maven": ZIP}, version="3.3.2", executable=False)
    assert "mvnw" in zipfile.ZipFile(found.path).namelist()
    assert found.path.stat().st_mode & 0o777 == 0o644


def test_a_member_of_it_is_taken_out(maven_workshop: Workshop) -> None:
    found = maven_workshop.fetch({"maven": {**ZIP, "member": "mvnw"}}, version="3.3.2")
    assert found.path.read_bytes().startswith(b"#!/bin/sh")


def test_a_jar_is_the_same_file_for_every_cpu(workshop: Workshop) -> None:
    first = workshop.fetch({"maven": JAR}, version="3.0", executable=False)
    second = workshop.fetch({"maven": JAR}, version="3.0", executable=False, arch="arm64")
    assert first.path == second.path
    assert not second.fetched
    assert not (workshop.cache.folder / "maven").exists(), "Maven's own repository is dropped"


def test_another_checksum_is_refused(maven_workshop: Workshop) -> None:
    refused(maven_workshop, Rejected, "do not use it", {**ZIP, "sha256": "a" * 64})


def test_coordinates_that_are_not_there_give_nothing(maven_workshop: Workshop) -> None:
    missing = {**ZIP, "coordinates": "org.hamcrest:hamcrest:{version}-never:jar"}
    refused(maven_workshop, Unavailable, "does not give org.hamcrest", missing)


def test_a_file_altered_in_mavens_own_repository_is_refused_and_not_kept(
    maven_workshop: Workshop, repository: Path
) -> None:
    """What an earlier, killed run left there is held to the pin like everything else."""
    folder = repository / "org/apache/maven/wrapper/maven-wrapper-distribution/3.3.2"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "maven-wrapper-distribution-3.3.2-script.zip"
    file.write_bytes(b"PK rotten")
    refused(maven_workshop, Rejected, "do not use it", ZIP)
    found = maven_workshop.fetch({"maven": ZIP}, version="3.3.2", executable=False)
    assert found.fetched
