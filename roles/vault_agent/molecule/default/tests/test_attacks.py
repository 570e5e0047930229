"""Identities are good for whom they were made, where they were made, and once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[5]
_PROGRAM = "/usr/local/lib/holdfast/vault-identity"
_THIEF = f"""#!/bin/sh
token=$(cat)
printf %s "$token" | python3 -c '
import json, sys, hvac
at = json.load(open("/etc/holdfast/vault.json"))
vault = hvac.Client(url=at["address"], verify=at["ca"], token=sys.stdin.read())
open("/run/stolen", "w").write(vault.sys.unwrap()["data"]["secret_id"])
'
printf %s "$token" | {_PROGRAM} "$@"
"""


@pytest.fixture
def wrapped(root):
    """A wrapped secret id of a role."""

    def make(role):
        return root.wrapped(f"auth/approle/role/{role}/secret-id", {}, seconds=120).token

    return make


@pytest.fixture
def opened(trixie, wrapped):
    """A secret id of a role, as its agent opens it on trixie1."""

    def make(role):
        status, answer = trixie.ask("sys/wrapping/unwrap", token=wrapped(role))
        assert status == 200, answer
        return answer["data"]["secret_id"]

    return make


class TestTheWay:
    """From the site's run to the host."""

    def test_what_somebody_opened_on_the_way_is_refused_and_revoked(self, trixie):
        trixie.out("cat > /run/thief && chmod 700 /run/thief", stdin=_THIEF)
        sealed = trixie.out("sha256sum /etc/credstore.encrypted/*")
        ansible = Path(sys.executable).with_name("ansible")
        task = ("-m", "vault_identity", "-a", "program=/run/thief identity=holdfast-trixie1")
        inventory = Path(__file__).parents[1] / "inventory"
        done = subprocess.run(
            [ansible, "-i", inventory, "trixie1", "--become", *task],
            cwd=_REPOSITORY,
            env={**os.environ, "ANSIBLE_NOCOLOR": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert "was opened before it came here" in said
        assert "It was revoked." in said
        stolen = trixie.out("cat /run/stolen; rm /run/stolen /run/thief")
        assert stolen
        assert stolen not in said
        assert trixie.login("holdfast-trixie1", stolen)[0] == 400
        # Nothing of it was sealed, and the host's own still works.
        assert trixie.out("sha256sum /etc/credstore.encrypted/*") == sealed
        trixie.out(f"{_PROGRAM} check")

    @pytest.mark.parametrize("role", ["holdfast-bookworm1", "holdfast-trixie1-web"])
    def test_one_that_was_made_for_another_is_refused(self, trixie, wrapped, role):
        status, said = trixie.run(f"{_PROGRAM} adopt", stdin=wrapped(role))
        assert status == 4
        assert f"comes from auth/approle/role/{role}/secret-id, not from" in said

    def test_what_is_no_wrapped_identity_is_refused(self, trixie):
        status, said = trixie.run(f"{_PROGRAM} adopt", stdin="hvs.nothing")
        assert status == 4, said


class TestAnotherHost:
    """What a host has is nothing elsewhere."""

    def test_a_sealed_identity_does_not_open(self, trixie, bookworm, keeper):
        place = "/etc/credstore.encrypted/holdfast-vault-identity"
        copied = trixie.out(f"base64 {place}")
        bookworm.out(f"cp -p {place} /run/kept")
        try:
            bookworm.out(f"base64 -d > {place}", stdin=copied)
            status, said = bookworm.run(f"{_PROGRAM} check")
        finally:
            bookworm.out(f"mv /run/kept {place}")
        assert (status, "could not decrypt" in said) == (3, True), said
        # The same release of systemd, another host.
        keeper.out("base64 -d > /run/copied", stdin=copied)
        opened, _ = keeper.run("systemd-creds decrypt --name=holdfast-vault-identity /run/copied -")
        keeper.out("rm /run/copied")
        assert opened != 0
        bookworm.out(f"{_PROGRAM} check")

    def test_its_content_is_refused_from_another_address(self, trixie, bookworm, keeper):
        secret = trixie.identity()
        assert trixie.login("holdfast-trixie1", secret)[0] == 200
        for other in (bookworm, keeper):
            assert other.login("holdfast-trixie1", secret) == (400, None)

    def test_a_token_is_refused_from_another_address(self, trixie, bookworm, opened):
        status, token = trixie.login("holdfast-trixie1-web", opened("holdfast-trixie1-web"))
        assert status == 200
        name = {"common_name": f"trixie1.{trixie.domain}"}
        path = "pki-servers/issue/holdfast-trixie1-web"
        assert trixie.ask(path, name, token=token)[0] == 200
        assert bookworm.ask(path, name, token=token)[0] == 403


class TestAnotherService:
    """What a service has is nothing to another on the same host."""

    @pytest.fixture
    def token(self, trixie, opened):
        status, token = trixie.login("holdfast-trixie1-web", opened("holdfast-trixie1-web"))
        assert status == 200
        return token

    def test_its_own_certificate(self, trixie, token):
        """To compare with what follows."""
        name = {"common_name": f"trixie1.{trixie.domain}"}
        assert trixie.ask("pki-servers/issue/holdfast-trixie1-web", name, token=token)[0] == 200

    def test_another_services_certificate(self, trixie, token):
        for role, name in (("trixie1-mail", "mail"), ("bookworm1-web", "bookworm1")):
            asked = {"common_name": f"{name}.{trixie.domain}"}
            path = f"pki-servers/issue/holdfast-{role}"
            assert trixie.ask(path, asked, token=token)[0] == 403

    @pytest.mark.parametrize(
        "asked",
        [
            {"common_name": "mail.{}"},
            {"common_name": "trixie1.{}", "alt_names": "trixie1.{},mail.{}"},
            {"common_name": "more.trixie1.{}"},
            {"common_name": "*.{}"},
            {"common_name": "trixie1.{}", "ip_sans": "192.0.2.1"},
            {"common_name": "trixie1.{}", "uri_sans": "spiffe://x/y"},
        ],
        ids=lambda asked: "+".join(f"{key}={value}" for key, value in asked.items()),
    )
    def test_another_name(self, trixie, token, asked):
        named = json.loads(json.dumps(asked).replace("{}", trixie.domain))
        status, said = trixie.ask("pki-servers/issue/holdfast-trixie1-web", named, token=token)
        assert status == 400, said
        assert "not allowed" in str(said)

    def test_another_services_identity(self, trixie, token):
        for role in ("trixie1", "trixie1-mail", "trixie1-web"):
            assert trixie.ask(f"auth/approle/role/holdfast-{role}/secret-id", token=token)[0] == 403

    def test_a_host_gets_no_identity_that_is_not_wrapped_or_not_its_own(self, trixie):
        status, token = trixie.login("holdfast-trixie1", trixie.identity())
        assert status == 200
        for role in ("trixie1-web", "bookworm1-web", "trixie1"):
            assert trixie.ask(f"auth/approle/role/holdfast-{role}/secret-id", token=token)[0] == 403


def test_an_identity_of_a_service_is_used_once(trixie, opened):
    secret = opened("holdfast-trixie1-web")
    assert trixie.login("holdfast-trixie1-web", secret)[0] == 200
    assert trixie.login("holdfast-trixie1-web", secret) == (400, None)


class TestAnotherVault:
    """Something else answers at Vault's address: here the host's own web server, with its name."""

    @pytest.fixture
    def elsewhere(self, trixie):
        place = "/etc/holdfast/vault.json"
        trixie.out(f"cp -p {place} /run/kept.json")
        trixie.out(f"sed -i 's|https://vault[^\"]*|https://trixie1.{trixie.domain}:443|' {place}")
        yield f"https://trixie1.{trixie.domain}:443"
        trixie.out(f"mv /run/kept.json {place}")

    @pytest.mark.parametrize("verb", ["check", "hand web"])
    def test_it_is_told_and_gets_nothing(self, trixie, elsewhere, verb):
        log = "/var/log/nginx/access.log"
        before = trixie.out(f"cat {log} | wc -l")
        status, said = trixie.run(f"{_PROGRAM} {verb}")
        assert status == 1
        assert f"What answers at {elsewhere} is not this installation's Vault" in said
        assert trixie.out(f"cat {log} | wc -l") == before

    def test_nor_does_an_agent_talk_to_it(self, trixie):
        log = "/var/log/nginx/access.log"
        before = trixie.out(f"cat {log} | wc -l")
        trixie.out(
            "umask 077; mkdir -p /run/other; printf hvs.canary > /run/other/secret-id;"
            f" sed -e 's|address = .*|address = \"https://trixie1.{trixie.domain}:443\"|'"
            " -e 's|/run/holdfast-agent/web|/run/other|' -e 's|/run/holdfast/web|/run/other|'"
            " /etc/holdfast/agent/web.hcl > /run/other/web.hcl"
        )
        _, said = trixie.run("timeout 5 vault agent -config=/run/other/web.hcl; rm -r /run/other")
        assert "signed by unknown authority" in said
        assert "hvs.canary" not in said
        assert trixie.out(f"cat {log} | wc -l") == before
