"""Files from the Maven registry, by Debian's Maven and the operator's own Maven settings."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from holdfast.artifacts.errors import Rejected, Unavailable
from holdfast.locking import exclusive
from holdfast.process import WITH_US, CommandFailed, run

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.artifacts.cache import Cache
    from holdfast.artifacts.manifest import Artifact, Maven
    from holdfast.artifacts.report import Report

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_SECONDS = 1800


def get(artifact: Artifact, source: Maven, *, target: Path, cache: Cache, report: Report) -> None:
    """Put the file at `source.coordinates` to `target`.

    Raises Unavailable if Maven is not there or does not find it, Rejected if the file is not what
    the registry's own checksum says.
    """
    with exclusive(cache.lock("maven"), purpose="mvn", wait=_SECONDS, say=report.say):
        _require_maven(report)
        report.say(f"{artifact.name}: asking Maven for {source.coordinates}")
        repository = cache.folder / "maven"
        argv = [*WITH_US, "mvn", "--batch-mode", "--quiet", "--strict-checksums"]
        argv += [f"-Dmaven.repo.local={repository}", f"{_PLUGIN}:get", "-Dtransitive=false"]
        try:
            run([*argv, f"-Dartifact={source.coordinates}"], cwd=target.parent, timeout=_SECONDS)
        except CommandFailed as error:
            if "Checksum validation failed" in error.output:
                raise Rejected(
                    f"{source.coordinates} is not what the registry's checksum says; try again "
                    f"later, and if it stays so, ask the registry.\n{error}"
                ) from error
            raise Unavailable(f"Maven does not give {source.coordinates}: {error}") from error
        shutil.move(repository / _path(source.coordinates), target)


def drop_caches(cache: Cache) -> None:
    """Remove Maven's repository, plug-ins included."""
    with exclusive(cache.lock("maven"), purpose="mvn"):
        shutil.rmtree(cache.folder / "maven", ignore_errors=True)


def _path(coordinates: str) -> str:
    """Where Maven's default layout keeps a file."""
    group, name, version, kind, *classifier = coordinates.split(":")
    file = "-".join([name, version, *classifier]) + f".{kind}"
    return f"{group.replace('.', '/')}/{name}/{version}/{file}"


def _require_maven(report: Report) -> None:
    if shutil.which("mvn"):
        return
    if os.geteuid() != 0:
        raise Unavailable("Maven is not installed; run `sudo apt-get install maven` and try again")
    report.say("installing Debian's maven (with a Java runtime, about 300 MB)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "--option", "DPkg::Lock::Timeout=300"]  # others may be installing
    try:
        run([*apt, "update"], env=env)
        run(
            [*apt, "install", "--yes", "--no-install-recommends", "maven"],
            env=env,
            timeout=_SECONDS,
        )
    except CommandFailed as error:
        raise Unavailable(f"Maven cannot be installed: {error}") from error
