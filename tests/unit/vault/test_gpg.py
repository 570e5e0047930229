"""What gpg says is believed only when everything it says agrees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.vault import memory
from holdfast.vault.gpg import Gpg, GpgFailed, keyring
from holdfast.vault.memory import in_memory, scratch
from tests.people import Person, make

PLAIN = b"a secret of some length" * 10


@pytest.fixture(scope="module")
def anna() -> Person:
    return make("anna")


@pytest.fixture(scope="module")
def home(anna: Person) -> Iterator[Gpg]:
    with keyring(anna.secret) as gpg:
        yield gpg


@pytest.fixture(scope="module")
def message(home: Gpg, anna: Person) -> bytes:
    return home.must("--recipient", anna.fingerprint, "--encrypt", stdin=PLAIN).out


def test_decrypting(home: Gpg, message: bytes) -> None:
    assert home.decrypt(message) == PLAIN


def damaged(message: bytes) -> Iterator[bytes]:
    yield b""
    yield b"no message"
    yield message[:-1]
    yield message[: len(message) // 2]
    yield message[:97]  # the packet with the key, and no more
    for position in range(len(message) - 30, len(message), 7):
        yield message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]


def test_damaged_messages_yield_nothing(home: Gpg, message: bytes) -> None:
    """Cut anywhere or changed anywhere; the error holds no part of the plain text."""
    cases = [*damaged(message), *(message[:size] for size in range(90, 110))]
    for case in cases:
        with pytest.raises(GpgFailed) as raised:
            home.decrypt(case)
        assert "secret of some" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "status", "out"),
    [
        (2, "DECRYPTION_OKAY", "plain"),
        (0, "DECRYPTION_INFO 2 9", "plain"),
        (0, "DECRYPTION_OKAY", ""),
    ],
)
def test_gpg_that_contradicts_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, status: str, out: str
) -> None:
    """Each was said by some version of gpg of some damaged message."""
    program = tmp_path / "gpg"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = "#!/bin/sh\ncat >/dev/null\nprintf '%s' '{}'\necho '[GNUPG:] {}' >&2\nexit {}\n"
    program.write_text(script.format("plain", "DECRYPTION_OKAY", 0))
    program.chmod(0o755)
    assert Gpg(tmp_path).decrypt(b"message") == b"plain"
    program.write_text(script.format(out, status, code))
    with pytest.raises(GpgFailed) as raised:
        Gpg(tmp_path).decrypt(b"message")
    assert "plain" not in str(raised.value)


def test_unprotected_messages_yield_nothing(home: Gpg, anna: Person) -> None:
    """Without a modification detection code anybody could have changed it."""
    arguments = ("--rfc2440", "--disable-mdc", "--recipient", anna.fingerprint, "--encrypt")
    old = home.run(*arguments, stdin=PLAIN).out
    with pytest.raises(GpgFailed):
        home.decrypt(old[:-30] + b"x" * 30)


def test_another_persons_message(home: Gpg) -> None:
    ben = make("ben")
    with keyring(ben.public.encode()) as gpg:
        message = gpg.must("--recipient", ben.fingerprint, "--encrypt", stdin=PLAIN).out
    with pytest.raises(GpgFailed, match="secret key for it is not here"):
        home.decrypt(message)


def test_recipients(home: Gpg, message: bytes) -> None:
    with keyring() as empty:
        [recipient] = empty.recipients(message)
        assert empty.recipients(b"no message") == []
    assert recipient in home.must("--with-colons", "--list-keys").out.decode()


def test_a_keyring_leaves_nothing(anna: Person) -> None:
    with keyring(anna.secret) as gpg:
        assert gpg.home is not None
        where = gpg.home
        assert in_memory(where)
        assert where.stat().st_mode & 0o777 == 0o700
        assert gpg.has_secret(anna.fingerprint)
    assert not where.exists()


def test_nothing_is_made_in_the_callers_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "none"))
    assert not Gpg(None).has_secret("A" * 40)
    assert not (tmp_path / "none").exists()


def test_without_gpg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GpgFailed, match="make setup"):
        Gpg(None).run("--version")


def test_scratch_is_never_on_a_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    on_disk = os.stat("/").st_dev  # noqa: PTH116
    with scratch() as folder:
        assert folder.stat().st_dev != on_disk
    monkeypatch.setattr(memory, "in_memory", lambda _: False)
    with pytest.raises(memory.Error, match="mount a tmpfs"), scratch():
        pass
