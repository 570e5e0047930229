"""What role postgresql's programs work out: proofs of passwords, memory, certificates."""

from __future__ import annotations

import base64
import hmac
import json
import subprocess
from pathlib import Path

import pytest

from tests.programs import loaded

probe = loaded("roles/postgresql/files/probe.py")
service = loaded("roles/postgresql/files/service.py")
vault_password = loaded("roles/postgresql/files/vault_password.py")

# The exchange of RFC 7677, section 3: user `user`, password `pencil`.
_SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
_NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
_MESSAGE = (
    f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={_NONCE}"
)
_SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_verifier_proves_the_password_of_the_rfc():
    made = vault_password.verifier("pencil", _SALT, 4096)
    kind, rounds, keys = made.split("$")
    assert (kind, rounds) == ("SCRAM-SHA-256", "4096:W22ZaJ0SNY7soEsUEjb6gQ==")
    server_key = base64.b64decode(keys.split(":")[1])
    signature = hmac.digest(server_key, _MESSAGE.encode(), "sha256")
    assert base64.b64encode(signature).decode() == _SERVER_SIGNATURE
    assert "pencil" not in made


@pytest.mark.parametrize(
    "password", ["", "short", "a" * 19, "a" * 129, "a" * 20 + "\n" + "b", "a b" * 10, "ä" * 30]
)
def test_password_that_could_be_guessed_or_misread_is_refused(password):
    assert not vault_password.PASSWORD.fullmatch(password)


@pytest.mark.parametrize(
    ("total_kib", "limit", "memory"),
    [
        (16_380_000, None, 16384),  # a machine of 16 GiB; the kernel keeps some
        (16_100_000, None, 15360),
        (4_019_000, None, 4096),
        (1_010_000, None, 1024),
        (400_000, None, 512),
        (100_000, None, 256),
        (16_380_000, 1 << 30, 1024),
    ],
)
def test_memory_is_what_the_host_may_use_in_round_figures(monkeypatch, total_kib, limit, memory):
    monkeypatch.setattr(probe, "_number", lambda _: limit)
    monkeypatch.setattr(Path, "read_text", lambda _: f"MemTotal:  {total_kib} kB\nMemFree: 1 kB\n")
    assert probe._memory() == memory


def test_first_certificate_is_found_behind_its_key(tmp_path):
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    make += ["-nodes", "-days", "1", "-subj", "/CN=x", "-keyout", "key", "-out", "crt"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    der = ["openssl", "x509", "-in", "crt", "-outform", "der"]
    wanted = subprocess.run(der, cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout
    pem = tmp_path / "pem"
    pem.write_text((tmp_path / "key").read_text() + (tmp_path / "crt").read_text() * 2)
    assert service.first_certificate(pem) == wanted


def test_files_that_cannot_be_read_are_named_and_given_up_on(tmp_path, monkeypatch, capsys):
    there = tmp_path / "there"
    there.touch()
    monkeypatch.setattr(service, "PATIENCE_WAIT", 0.0)
    monkeypatch.setattr(service.time, "sleep", lambda _: None)
    assert service.wait([str(there)]) == 0
    assert service.wait([str(there), str(tmp_path / "none")]) == 1
    said = capsys.readouterr()
    assert str(tmp_path / "none") in said.out
    assert str(there) not in said.out
    assert "holdfast vault status" in said.err


def test_a_server_that_lets_nobody_in_is_none(tmp_path, monkeypatch):
    """The role then starts or reloads it; every other failure is one."""
    psql = tmp_path / "psql"
    monkeypatch.setattr(probe, "_AS_POSTGRES", [str(psql)])
    for status, there in ((2, False), (0, True)):
        psql.write_text(f"#!/bin/sh\necho '{json.dumps({'a': 1})}'\nexit {status}\n")
        psql.chmod(0o755)
        assert (probe._psql("", {}) is not None) is there
    psql.write_text("#!/bin/sh\necho wrong >&2\nexit 3\n")
    with pytest.raises(SystemExit, match="refused what role postgresql asks: wrong"):
        probe._psql("", {})
