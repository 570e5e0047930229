"""Containers and volumes of different hosts never bear one name."""

from __future__ import annotations

import pytest

from holdfast.installation import Installation
from holdfast.local.podman import Podman
from holdfast.local.servers import BadHost, Servers, Wanted


def container(installation: str, host: str) -> str:
    return Servers(Installation(installation), Podman(), say=print)._container(host)


def test_containers_of_different_hosts_have_different_names() -> None:
    assert container("a", "b-c") != container("a-b", "c")


@pytest.mark.parametrize("name", ["web1", "a", "a-b", "x" * 63])
def test_good_hosts(name: str) -> None:
    assert Wanted(name=name, release="trixie", volumes=("/srv/data", "/var/lib/x-1.2")).name == name


@pytest.mark.parametrize("name", ["", "web_1", "-a", "a-", "Web", "a.b", "x" * 64])
def test_bad_hosts_say_what_would_be_good(name: str) -> None:
    with pytest.raises(BadHost, match="use 1 to 63 of a-z, 0-9 and -"):
        Wanted(name=name, release="trixie")


@pytest.mark.parametrize("path", ["srv", "/", "/srv_data", "/srv/data/", "/a:/b", "/a b"])
def test_bad_volumes_say_what_would_be_good(path: str) -> None:
    with pytest.raises(BadHost, match="list in local_volumes absolute paths of"):
        Wanted(name="web1", release="trixie", volumes=(path,))
