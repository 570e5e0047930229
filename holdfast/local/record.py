"""What stands where on this machine: written by `up`, read by `inventory/local/servers`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict, cast

from holdfast.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

_FILE = "servers.json"


class HostRecord(TypedDict):
    """A host's place in the subnets, and the addresses that follow from it (IPv4 first)."""

    number: int
    addresses: list[str]


class Record(TypedDict):
    """An installation's hosts, and from where its operator reaches them."""

    domain: str
    operator_addresses: list[str]
    hosts: dict[str, HostRecord]


def load(folder: Path) -> Record:
    """The record in an installation's folder; one without hosts before the first `up`."""
    path = folder / _FILE
    if not path.exists():
        return {"domain": "", "operator_addresses": [], "hosts": {}}
    return cast("Record", json.loads(path.read_text()))


def save(folder: Path, record: Record) -> None:
    """Replace the record whole."""
    write_atomic(folder / _FILE, json.dumps(record, indent=2, sort_keys=True) + "\n", mode=0o600)
