"""What a host says when it cannot work with Vault."""

from __future__ import annotations

import socket

import pytest
import requests

from tests.programs import loaded

identity = loaded("roles/vault_agent/files/vault_identity.py")


def _refused(error: Exception, *, because: Exception | None = None) -> str:
    def what() -> None:
        try:
            raise because or error
        except OSError:
            raise error  # noqa: B904  (as urllib3's errors reach requests)

    settings = {"address": "https://vault.test:8200", "operators": ["ann"], "threshold": 1}
    with pytest.raises(identity.Refused) as caught:
        identity._call(settings, what)
    return str(caught.value.args)


def test_a_name_that_nobody_knows_is_told_from_a_vault_that_is_silent() -> None:
    error = requests.exceptions.ConnectionError()
    assert "no name server knows its name" in _refused(error, because=socket.gaierror())
    error = requests.exceptions.ConnectionError()
    assert "(ConnectionError)" in _refused(error, because=ConnectionRefusedError())
