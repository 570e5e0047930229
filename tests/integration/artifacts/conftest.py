"""A publisher with a real server and real signatures, and caches of the tests' own."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trustme
import yaml

from holdfast.artifacts import Artifact, Cache, fetch, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent


@dataclass
class Offer:
    """What the publisher answers for one path."""

    content: bytes = b""
    status: int = 200
    location: str | None = None
    send_only: int | None = None  # bytes, then the connection ends
    announce_length: bool = True
    sent_half: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event | None = None  # waited for after the first half


class Publisher:
    """An HTTPS server on this machine that answers what it is told to."""

    def __init__(self, authority: trustme.CA) -> None:
        self.offers: dict[str, Offer] = {}
        self.asked: list[str] = []
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked.append(self.path)
                publisher.answer(self, publisher.offers.get(self.path, Offer(status=404)))

            def log_message(self, *_: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @staticmethod
    def answer(handler: http.server.BaseHTTPRequestHandler, offer: Offer) -> None:
        handler.send_response(offer.status)
        if offer.location:
            handler.send_header("Location", offer.location)
        if offer.announce_length:
            handler.send_header("Content-Length", str(len(offer.content)))
        handler.end_headers()
        half = len(offer.content) // 2
        content = offer.content[: offer.send_only]
        try:
            handler.wfile.write(content[:half])
            handler.wfile.flush()
            offer.sent_half.set()
            if offer.go_on:
                offer.go_on.wait(60)
            handler.wfile.write(content[half:])
        except OSError:
            pass  # the client went away, as some tests want

    def offer(self, path: str, content: bytes = b"", **how: Any) -> Offer:
        self.offers[path] = Offer(content, **how)
        return self.offers[path]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Signer:
    """A throw-away OpenPGP key in a home of its own."""

    _all: ClassVar[list[Signer]] = []

    def __init__(self, home: Path, name: str, *, expire: str = "0") -> None:
        home.mkdir(mode=0o700)
        self.home = home
        self._all.append(self)
        self._gpg(
            "--quick-gen-key", f"{name} <{name}@publisher.example>", "ed25519", "sign", expire
        )
        listing = self._gpg("--with-colons", "--list-keys").decode()
        self.fingerprint = next(x.split(":")[9] for x in listing.splitlines() if x[:3] == "fpr")

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        argv = [
            "gpg",
            "--homedir",
            str(self.home),
            "--batch",
            "--quiet",
            "--pinentry-mode=loopback",
        ]
        return subprocess.run(
            [*argv, "--passphrase", "", *arguments], input=stdin, capture_output=True, check=True
        ).stdout

    def add_subkey(self) -> None:
        self._gpg("--quick-add-key", self.fingerprint, "ed25519", "sign")

    def sign(self, content: bytes, *options: str) -> bytes:
        return self._gpg(*options, "--detach-sign", stdin=content)

    def revoke(self) -> None:
        stored = self.home / "openpgp-revocs.d" / f"{self.fingerprint}.rev"
        certificate = stored.read_text().replace(":-----BEGIN", "-----BEGIN")
        self._gpg("--import", stdin=certificate.encode())

    def public_key(self, *, armour: bool = True) -> bytes:
        return self._gpg(*(["--armor"] if armour else []), "--export")

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=True)


@dataclass
class Workshop:
    """One test's cache, manifest folder and publisher."""

    folder: Path
    cache: Cache
    publisher: Publisher
    signer: Signer
    said: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        self.said.append(message)

    def progress(self, label: str, done: int, total: int | None) -> None:
        pass

    def release(
        self, content: bytes, *, checksums: bool = True, pin: str | None = None, **extra: Any
    ) -> dict[str, Any]:
        """Publish `content` properly and return its source for a manifest."""
        checksum = hashlib.sha256(content).hexdigest()
        listed = f"{'0' * 64}  other.zip\n{checksum}  tool.bin\n".encode()
        self.publisher.offer("/tool.bin", content)
        self.publisher.offer("/SUMS", listed)
        self.publisher.offer("/SIG", self.signer.sign(listed if checksums else content))
        (self.folder / "key.asc").write_bytes(self.signer.public_key())
        signature = {
            "url": f"{self.publisher.url}/SIG",
            "key": "key.asc",
            "fingerprint": self.signer.fingerprint,
        }
        if checksums:
            signature["checksums"] = f"{self.publisher.url}/SUMS"
        return {
            "release": {
                "url": f"{self.publisher.url}/tool.bin",
                "sha256": pin or checksum,
                "signature": signature,
                **extra,
            }
        }

    def manifest(self, *sources: dict[str, Any], **changes: Any) -> Path:
        """Write a manifest of one artifact, `tool`."""
        tool = {
            "version": "1.0.0",
            "licence": "Apache-2.0",
            "purpose": "shows the way through the house",
            "file": "tool",
            "executable": True,
            "max_mib": 64,
            "sources": list(sources),
            **changes,
        }
        path = self.folder / "manifest.yml"
        path.write_text(yaml.safe_dump({"schema": 1, "artifacts": {"tool": tool}}))
        return path

    def artifact(self, *sources: dict[str, Any], **changes: Any) -> Artifact:
        return load(self.manifest(*sources, **changes)).artifacts["tool"]

    def fetch(self, *sources: dict[str, Any], arch: str = "amd64", **changes: Any) -> Any:
        [found] = fetch(
            [self.artifact(*sources, **changes)], arch=arch, cache=self.cache, report=self, wait=60
        )
        return found

    def entries(self) -> list[Path]:
        """Every file in the cache that could be taken for a finished one, or for its beginning."""
        keep = {".locks", "toolchains", "go", "maven"}
        return [
            path
            for path in self.cache.folder.rglob("*")
            if path.is_file() and path.relative_to(self.cache.folder).parts[0] not in keep
        ]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def make_signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Signer]]:
    folder = tmp_path_factory.mktemp("gpg")

    def make(name: str, **how: Any) -> Signer:
        return Signer(folder / name, name, **how)

    yield make
    for signer in Signer._all:
        signer.close()


@pytest.fixture(scope="session")
def signer(make_signer: Callable[..., Signer]) -> Signer:
    return make_signer("publisher")


@pytest.fixture(scope="session")
def stranger(make_signer: Callable[..., Signer]) -> Signer:
    return make_signer("stranger")


@pytest.fixture
def workshop(
    tmp_path: Path, authority: trustme.CA, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    trust = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(trust)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trust))
    publisher = Publisher(authority)
    folder = tmp_path / "manifest"
    folder.mkdir()
    yield Workshop(folder, Cache(tmp_path / "cache" / "artifacts"), publisher, signer)
    publisher.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the Go toolchain is installed and packages are compiled once for all tests."""
    folder = tmp_path_factory.mktemp("shared")
    for name in ("toolchains", "go"):
        (folder / name).mkdir()
    yield folder
    shutil.rmtree(folder)  # hundreds of megabytes, which pytest would keep for three runs


@pytest.fixture
def cold_workshop(workshop: Workshop, shared: Path) -> Workshop:
    """A workshop with the wrapper module and the tests' toolchain, and nothing compiled yet."""
    workshop.cache.folder.mkdir(parents=True)
    (workshop.cache.folder / "toolchains").symlink_to(shared / "toolchains")
    shutil.copytree(HERE / "go", workshop.folder / "go")
    return workshop


@pytest.fixture
def go_workshop(cold_workshop: Workshop, shared: Path) -> Workshop:
    """The same with what other tests compiled: dropping a link drops nothing."""
    (cold_workshop.cache.folder / "go").symlink_to(shared / "go")
    return cold_workshop
