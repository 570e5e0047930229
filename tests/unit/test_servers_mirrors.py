"""The machine's own mirrors, where hosts can reach them."""

from __future__ import annotations

import pytest

from holdfast.local import apt

_MAIN = "Debian http://mirror.example/debian/"
_SECURITY = "Debian-Security https://mirror.example/debian-security/"
_OTHER = "Somebody https://packages.example/debian/"


def sources(monkeypatch: pytest.MonkeyPatch, *listed: str) -> list[str]:
    monkeypatch.setattr(apt, "run", lambda _: "\n".join(listed))
    return apt.sources("trixie")


def test_the_machines_mirrors_serve_any_release(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sources(monkeypatch, _OTHER, _MAIN, _MAIN, _SECURITY) == [
        "deb http://mirror.example/debian/ trixie main",
        "deb http://mirror.example/debian/ trixie-updates main",
        "deb https://mirror.example/debian-security/ trixie-security main",
    ]


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [_MAIN],
        [_SECURITY, "Debian cdrom:[Debian]/"],
        [_SECURITY, "Debian file:/srv/debian/"],
        [_SECURITY, "Debian http://127.0.0.1:3142/debian/"],
        [_SECURITY, "Debian http://localhost/debian/"],
    ],
    ids=["no lists", "no security", "disc", "folder", "loopback", "localhost"],
)
def test_what_hosts_cannot_reach_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, listed: list[str]
) -> None:
    assert sources(monkeypatch, *listed) == []


def test_proxies_are_handed_over_as_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    line = 'Acquire::http::Proxy "http://192.0.2.7:3128";'
    monkeypatch.setattr(apt, "run", lambda _: f'{line}\nAcquire::https::Proxy "";\n')
    assert apt.proxy() == [line]
