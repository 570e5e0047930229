"""How this machine reaches Debian: its mirrors and its proxy, for base images and their hosts."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from holdfast.process import run

_MIRRORS = ("Debian", "Debian-Security")  # the labels that Debian gives its archives


def sources(release: str) -> list[str]:
    """The machine's own mirrors as lines of sources.list for `release`.

    Empty, which means mmdebstrap's defaults, unless apt knows both archives by addresses that
    hosts can reach.
    """
    listed = run(
        ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]
    )
    uris: dict[str, str] = {}
    for line in listed.splitlines():
        label, _, uri = line.partition(" ")
        if uri.startswith(("http://", "https://")) and not _local(uri):
            uris.setdefault(label, uri)
    if not all(label in uris for label in _MIRRORS):
        return []
    main, security = (uris[label] for label in _MIRRORS)
    return [
        f"deb {main} {release} main",
        f"deb {main} {release}-updates main",
        f"deb {security} {release}-security main",
    ]


def proxy() -> list[str]:
    """The machine's own proxy settings, as lines of apt.conf."""
    lines = run(["apt-config", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy"])
    return [line for line in lines.splitlines() if not line.endswith(' "";')]


def _local(uri: str) -> bool:
    """Whether an address means this machine itself, which a host could not reach by it."""
    name = urlsplit(uri).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
