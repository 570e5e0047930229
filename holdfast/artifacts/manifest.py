"""The manifest: what is neither in Debian nor on PyPI, where it comes from, what it must be.

Its form is described at the top of artifacts/manifest.yml. Reading it checks all of it; what comes
out can be used without further questions.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from holdfast import paths
from holdfast.artifacts.errors import BadManifest
from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SCHEMA = 1
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # the kernel's names: Debian's and Go's
ANY = "any"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~-]*")
_FILE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]*")
_LICENCE = re.compile(r"[0-9A-Za-z.+-]+(?: (?:AND|OR|WITH) [0-9A-Za-z.+-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_TAG = re.compile(r"[0-9A-Za-z_.]+")
_COMMAND = re.compile(r"\.(?:/[0-9A-Za-z._/-]+)?|[0-9A-Za-z.-]+\.[a-z]+/[0-9A-Za-z._~/-]+")
_COORDINATES = re.compile(r"[0-9A-Za-z._-]+(?::[0-9A-Za-z._+-]+){3,4}")
_TOOLCHAIN = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_WORD = re.compile(r"\S+")
_LINE = re.compile(r"\S.*")


@dataclass(frozen=True, kw_only=True)
class _Source:
    sha256: Mapping[str, str] = field(hash=False)
    member: str | None = None

    def pin(self, arch: str) -> str | None:
        """The pinned checksum of what this source gives for `arch`; None if it gives nothing."""
        return self.sha256.get(ANY) or self.sha256.get(arch)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A detached OpenPGP signature, over the checksum list if there is one, else over the file."""

    url: str
    checksums: str | None
    key: Path
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Release(_Source):
    """A file that its publisher offers and signs; `sha256` is that of the download."""

    url: str
    arch_names: Mapping[str, str] = field(hash=False)
    signature: Signature
    kind: str = "release"

    def address(self, url: str, arch: str) -> str:
        """`url` with the CPU written as this publisher writes it."""
        return url.replace("{arch}", self.arch_names.get(arch, arch))


@dataclass(frozen=True, kw_only=True)
class Go(_Source):
    """A command built from a wrapper module of ours; `sha256` is that of the built file."""

    module: Path
    command: str
    tags: tuple[str, ...]
    ldflags: tuple[str, ...]
    toolchain: str
    kind: str = "go"


@dataclass(frozen=True, kw_only=True)
class Maven(_Source):
    """A file on the Maven registry; `sha256` is that of the file there."""

    coordinates: str
    kind: str = "maven"


Source = Release | Go | Maven


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file that roles ship to hosts; every source gives it under the same name."""

    name: str
    version: str
    licence: str
    purpose: str
    file: str
    executable: bool
    max_bytes: int
    sources: tuple[Source, ...]

    @property
    def mode(self) -> int:
        """The permissions of the finished file."""
        return 0o755 if self.executable else 0o644


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All artifacts, by name."""

    path: Path
    artifacts: Mapping[str, Artifact]

    def choose(self, names: tuple[str, ...]) -> list[Artifact]:
        """The named artifacts, or all. Raises Error for an unknown name."""
        for name in names:
            if name not in self.artifacts:
                known = ", ".join(sorted(self.artifacts)) or "none yet"
                raise Error(f"{self.path} has no artifact {name!r}; choose from: {known}.")
        return [self.artifacts[name] for name in names or sorted(self.artifacts)]


def default_path() -> Path:
    """The manifest of this checkout."""
    return paths.repository() / "artifacts" / "manifest.yml"


def this_machine() -> str:
    """This machine's CPU by Debian's name. Raises Error for one that no artifact is made for."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise Error(
            f"artifacts are made for {', '.join(ARCHITECTURES.values())}, and this machine is "
            f"{machine}; name the CPU of the hosts with --arch."
        )
    return ARCHITECTURES[machine]


def load(path: Path) -> Manifest:
    """Read and check the manifest at `path`. Raises BadManifest with the place and the fix."""
    try:
        content = yaml.load(path.read_bytes(), Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise BadManifest(f"{path} cannot be read: {error.strerror}; restore it.") from error
    except yaml.YAMLError as error:
        raise BadManifest(f"{path} is not valid YAML; correct it.\n{error}") from error
    top = _Table(str(path), content)
    schema = top.take("schema")
    if schema != SCHEMA:
        raise BadManifest(
            f"{path}: schema is {schema!r}, and this Holdfast reads {SCHEMA}; "
            "use the Holdfast that the manifest was written for."
        )
    entries = _Table(f"{path}: artifacts", top.take("artifacts"))
    top.done()
    artifacts = {}
    for name in list(entries.content):
        where = f"{path}: artifacts.{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadManifest(f"{where}: a name is made of a-z, 0-9 and -; rename it.")
        artifacts[name] = _artifact(name, _Table(where, entries.take(name)), path.parent)
    return Manifest(path=path, artifacts=artifacts)


def _artifact(name: str, table: _Table, folder: Path) -> Artifact:
    version = table.text("version", _VERSION)
    sources = table.take("sources")
    if not isinstance(sources, list) or not sources:
        raise BadManifest(f"{table.where}.sources must be a list; give at least one source.")
    artifact = Artifact(
        name=name,
        version=version,
        licence=table.text("licence", _LICENCE, hint="an SPDX expression"),
        purpose=table.text("purpose", _LINE),
        file=table.text("file", _FILE),
        executable=table.flag("executable"),
        max_bytes=table.number("max_mib") * 1024 * 1024,
        sources=tuple(
            _source(f"{table.where}.sources[{index}]", source, version, folder)
            for index, source in enumerate(sources)
        ),
    )
    table.done()
    return artifact


def _source(where: str, content: object, version: str, folder: Path) -> Source:
    makers: dict[Any, Callable[[_Table, str, Path], Source]] = {
        "release": _release,
        "go": _go,
        "maven": _maven,
    }
    outer = _Table(where, content)
    kind = next(iter(outer.content), "")
    if kind not in makers or len(outer.content) != 1:
        raise BadManifest(f"{where} must have exactly one key, its kind: {', '.join(makers)}.")
    table = _Table(f"{where}.{kind}", outer.take(kind))
    source = makers[kind](table, version, folder)
    table.done()
    return source


def _release(table: _Table, version: str, folder: Path) -> Release:
    inner = _Table(f"{table.where}.signature", table.take("signature"))
    checksums = inner.url("checksums", version) if "checksums" in inner.content else None
    signature = Signature(
        url=inner.url("url", version),
        checksums=checksums,
        key=inner.path("key", folder),
        fingerprint=inner.text(
            "fingerprint", _FINGERPRINT, hint="all 40 (or 64) characters, upper case, no spaces"
        ),
    )
    inner.done()
    url = table.url("url", version)
    return Release(
        url=url,
        arch_names=table.arch_names(),
        signature=signature,
        sha256=table.sha256(per_cpu="{arch}" in url),
        member=table.member(version),
    )


def _go(table: _Table, _version: str, folder: Path) -> Go:
    module = table.path("module", folder)
    for name in ("go.mod", "go.sum"):
        if not (module / name).is_file():
            raise BadManifest(f"{table.where}.module: {module / name} is missing; commit it.")
    return Go(
        module=module,
        command=table.text("command", _COMMAND, hint="a package path, or ./folder"),
        tags=table.words("tags", _TAG),
        ldflags=table.words("ldflags", _WORD),
        toolchain=table.text("toolchain", _TOOLCHAIN, hint='a Go version such as "1.27.3"'),
        sha256=table.sha256(per_cpu=True),
    )


def _maven(table: _Table, version: str, _folder: Path) -> Maven:
    coordinates = table.text("coordinates", re.compile(r"\S+")).replace("{version}", version)
    if not _COORDINATES.fullmatch(coordinates):
        raise BadManifest(
            f"{table.where}.coordinates must be GROUP:NAME:VERSION:TYPE[:CLASSIFIER], "
            f"not {coordinates!r}; correct it."
        )
    return Maven(coordinates=coordinates, sha256=table.sha256(), member=table.member(version))


class _Table:
    """A mapping whose keys are taken one by one; what is left over is unknown."""

    def __init__(self, where: str, content: object) -> None:
        if not isinstance(content, dict):
            raise BadManifest(f"{where} must be a mapping, not {content!r}; correct it.")
        self.where = where
        self.content: dict[Any, Any] = dict(content)
        self._known: list[str] = []

    def take(self, key: str) -> object:
        self._known.append(key)
        if key not in self.content:
            raise BadManifest(f"{self.where}: {key!r} is missing; add it.")
        return self.content.pop(key)

    def done(self) -> None:
        for key in self.content:
            raise BadManifest(
                f"{self.where}: {key!r} is unknown; correct or remove it "
                f"(besides {', '.join(sorted(self._known))})."
            )

    def text(self, key: str, form: re.Pattern[str], *, hint: str | None = None) -> str:
        return self._matched(f"{self.where}.{key}", self.take(key), form, hint)

    def words(self, key: str, form: re.Pattern[str]) -> tuple[str, ...]:
        if key not in self.content:
            self._known.append(key)
            return ()
        where, value = f"{self.where}.{key}", self.take(key)
        if not isinstance(value, list):
            raise BadManifest(f"{where} must be a list; put the value into [ ].")
        return tuple(self._matched(where, word, form, None) for word in value)

    def flag(self, key: str) -> bool:
        value = self.take(key)
        if not isinstance(value, bool):
            raise BadManifest(f"{self.where}.{key} is {value!r}; write true or false.")
        return value

    def number(self, key: str) -> int:
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadManifest(f"{self.where}.{key} is {value!r}; write a whole number from 1.")
        return value

    def path(self, key: str, folder: Path) -> Path:
        value = self._matched(f"{self.where}.{key}", self.take(key), _LINE, None)
        path = (folder / value).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise BadManifest(f"{self.where}.{key} leaves {folder}; keep it inside.")
        if not path.exists():
            raise BadManifest(f"{self.where}.{key}: {path} is missing; commit it.")
        return path

    def url(self, key: str, version: str) -> str:
        value = self._matched(f"{self.where}.{key}", self.take(key), _WORD, None)
        url = value.replace("{version}", version)
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.username:
            raise BadManifest(f"{self.where}.{key} is {value!r}; write an https:// address.")
        return url

    def member(self, version: str) -> str | None:
        if "member" not in self.content:
            self._known.append("member")
            return None
        return self.text("member", _LINE).replace("{version}", version)

    def arch_names(self) -> Mapping[str, str]:
        if "arch_names" not in self.content:
            self._known.append("arch_names")
            return {}
        names = _Table(f"{self.where}.arch_names", self.take("arch_names"))
        found = {arch: names.text(arch, _FILE) for arch in ARCHITECTURES.values()}
        names.done()
        return found

    def sha256(self, *, per_cpu: bool = False) -> Mapping[str, str]:
        value, where = self.take("sha256"), f"{self.where}.sha256"
        if per_cpu and not isinstance(value, dict):
            raise BadManifest(f"{where}: each CPU has a file of its own; write amd64: and arm64:.")
        checksums: dict[Any, Any] = value if isinstance(value, dict) else {ANY: value}
        allowed = set(ARCHITECTURES.values()) if isinstance(value, dict) else {ANY}
        for arch, checksum in checksums.items():
            if arch not in allowed:
                raise BadManifest(f"{where}: {arch!r} is no CPU we know; use amd64 or arm64.")
            self._matched(where, checksum, _SHA256, "64 of 0-9 and a-f, in quotes")
        if not checksums:
            raise BadManifest(f"{where} is empty; add the checksum.")
        return checksums

    @staticmethod
    def _matched(where: str, value: object, form: re.Pattern[str], hint: str | None) -> str:
        if not isinstance(value, str):
            raise BadManifest(f"{where} is {value!r}, not text; put it in quotes.")
        if not form.fullmatch(value):
            raise BadManifest(f"{where} cannot be {value!r}; write {hint or 'it as documented'}.")
        return value


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where the last would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  # PyYAML's signature
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep=deep)
