#!/usr/bin/python3
"""The identity of this host at Vault, and what it can do: hand identities to its own services.

It is an AppRole's secret id, sealed by systemd-creds in SEALED, and never elsewhere on a disk.
/etc/holdfast/vault.json says where Vault is, and which services this host has.

adopt          take the wrapped secret id on standard input as this host's identity
check          log in with the identity
hand SERVICE   put a wrapped, single-use identity of the service where its agent reads it

Exit status: 0 done; 1 refused, with the reason; 3 no identity, or one that Vault does not accept
any more; 4 the wrapped identity was opened by somebody else, or is not what was asked for.
"""

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import hvac
import requests

SETTINGS = Path("/etc/holdfast/vault.json")
SEALED = Path("/etc/credstore.encrypted/holdfast-vault-identity")
HANDED = Path("/run/holdfast-agent")
_NAME = "holdfast-vault-identity"
_TIMEOUT = 10
_WRAPPED_SECONDS = 60


class Refused(Exception):
    """With the exit status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def _settings():
    return json.loads(SETTINGS.read_text())


def _client(settings, token=None):
    return hvac.Client(
        url=settings["address"], token=token, verify=settings["ca"], timeout=_TIMEOUT
    )


def _call(settings, what):
    """Do `what` with Vault; say in a sentence why it cannot be done."""
    people = ", ".join(settings["operators"])
    try:
        return what()
    except hvac.exceptions.VaultDown as error:
        raise Refused(
            1,
            f"Vault at {settings['address']} is sealed: {settings['threshold']} of {people} have to"
            " run `holdfast vault unseal`. This is tried again until then.",
        ) from error
    except requests.exceptions.SSLError as error:
        raise Refused(
            1, f"What answers at {settings['address']} is not this installation's Vault: {error}."
        ) from error
    except requests.exceptions.RequestException as error:
        why = "no name server knows its name" if _is_nameless(error) else type(error).__name__
        raise Refused(1, f"Vault at {settings['address']} cannot be reached ({why}).") from error


def _is_nameless(error):
    """Tell whether the name did not resolve; requests has no class of its own for that."""
    cause = error.__context__
    while cause and not isinstance(cause, socket.gaierror):
        cause = cause.__context__
    return cause is not None


def _systemd_creds(verb, data):
    done = subprocess.run(
        ["systemd-creds", verb, f"--name={_NAME}", "-", "-"],
        input=data,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise Refused(3, f"systemd-creds could not {verb} the identity of this host: {reason}")
    return done.stdout


@contextlib.contextmanager
def _logged_in(settings, secret_id):
    """Yield a client that is this host, and end its token."""
    client = _client(settings)
    try:
        _call(
            settings,
            lambda: client.auth.approle.login(role_id=settings["identity"], secret_id=secret_id),
        )
    except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden) as error:
        raise Refused(
            3,
            "Vault does not accept the identity of this host: it was revoked, or this is another"
            " host or address than it was made for. Run the site's playbook: it makes a new one.",
        ) from error
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # it ends by itself within minutes
            client.auth.token.revoke_self()


def adopt():
    """Open the wrapped identity, which nobody can have opened before, and seal it."""
    settings = _settings()
    wrapped = sys.stdin.read().strip()
    asked = f"auth/approle/role/{settings['identity']}/secret-id"
    client = _client(settings)
    try:
        found = _call(
            settings,
            lambda: client.adapter.post("/v1/sys/wrapping/lookup", json={"token": wrapped}),
        )
        made_by = (found if isinstance(found, dict) else found.json())["data"]["creation_path"]
        if made_by != asked:
            raise Refused(4, f"The wrapped identity comes from {made_by}, not from {asked}.")
        opened = _call(settings, _client(settings, wrapped).sys.unwrap)
    except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden) as error:
        raise Refused(
            4,
            "The wrapped identity of this host was opened before it came here, or took too long on"
            " its way. Somebody may have it: it has to be revoked.",
        ) from error
    secret_id = opened["data"]["secret_id"]
    with _logged_in(settings, secret_id):
        pass
    sealed = _systemd_creds("encrypt", secret_id.encode())
    SEALED.parent.mkdir(mode=0o700, exist_ok=True)
    _write(SEALED, sealed)


def check():
    """Whether Vault takes the identity."""
    settings = _settings()
    with _logged_in(settings, _secret_id()):
        pass


def hand(service):
    """Write the wrapping token of a new secret id for the agent of `service`."""
    settings = _settings()
    wanted = settings["services"].get(service)
    if wanted is None:
        raise Refused(1, f"{service} is not a service of this host in {SETTINGS}.")
    with _logged_in(settings, _secret_id()) as client:
        answer = _call(
            settings,
            lambda: client.adapter.post(
                f"/v1/auth/approle/role/{wanted['identity']}/secret-id",
                json={},
                wrap_ttl=f"{_WRAPPED_SECONDS}s",
            ),
        )
    wrapped = (answer if isinstance(answer, dict) else answer.json())["wrap_info"]["token"]
    folder = HANDED / service
    _write(folder / "secret-id", wrapped.encode(), owner=pwd.getpwnam(wanted["user"]).pw_uid)


def _secret_id():
    if not SEALED.exists():
        raise Refused(3, "This host has no identity at Vault yet. Run the site's playbook.")
    return _systemd_creds("decrypt", SEALED.read_bytes()).decode()


def _write(path, data, *, owner=0):
    """Whole or not at all, for its owner only."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchown(stream.fileno(), owner, -1)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def main(argv):
    try:
        if argv == ["adopt"]:
            adopt()
        elif argv == ["check"]:
            check()
        elif argv[:1] == ["hand"]:
            hand(*argv[1:])
        else:
            sys.stderr.write(__doc__)
            return 2
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    except hvac.exceptions.VaultError as error:
        sys.stderr.write(f"Vault refused: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
