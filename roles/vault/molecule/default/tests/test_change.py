"""A Vault at work is never restarted by surprise, and never left as it should not be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

testinfra_hosts = ["ansible://bookworm1"]
_PLUGIN = "vault-plugin-database-postgresql"


def test_unsealed_and_unchanged(node, play):
    before = node.pid()
    succeeded, said = play()
    assert succeeded, said
    assert " changed=0 " in said
    assert (node.pid(), node.sealed()) == (before, False)


def test_owners_modes_and_a_tampered_program_are_mended_at_work(node, play):
    before, before_owners = node.pid(), node.owners()
    node.host.check_output(
        "chmod 0644 /etc/vault.d/vault.hcl /usr/local/lib/holdfast/vault-ceremony;"
        " chown root /var/log/vault; chmod 0755 /var/lib/vault;"
        " chgrp root /etc/vault.d/operators-ca.crt;"
        " cp /usr/local/bin/vault /run/vault.new; printf x >> /run/vault.new;"
        " mv /run/vault.new /usr/local/bin/vault"
    )
    succeeded, said = play()
    assert succeeded, said
    assert node.owners() == before_owners
    shown = "stat --format=%a /usr/local/lib/holdfast/vault-ceremony /usr/local/bin/vault"
    assert node.host.check_output(shown).split() == ["755", "755"]
    running = node.host.check_output("sha256sum /proc/%s/exe", before).split()[0]
    there = node.host.check_output("sha256sum /usr/local/bin/vault").split()[0]
    assert running == there
    assert (node.pid(), node.sealed()) == (before, False)


def test_an_older_program_is_refused(node, play):
    fake = "#!/bin/sh\\necho 'Vault v99.0.1, built yesterday'\\n"
    node.host.check_output("mv /usr/local/bin/vault /run/kept-vault")
    try:
        node.host.check_output(f'printf %b "{fake}" > /usr/local/bin/vault')
        node.host.check_output("chmod 0755 /usr/local/bin/vault")
        succeeded, said = play()
        assert not succeeded
        assert "is version 99.0.1" in said
        assert "cannot go back" in said
        assert "99.0.1" in node.host.check_output("cat /usr/local/bin/vault")
    finally:
        node.host.check_output("mv /run/kept-vault /usr/local/bin/vault")


def test_the_level_of_its_log_takes_a_reload(node, play):
    before = node.pid()
    succeeded, said = play(vault_log_level="debug")
    assert succeeded, said
    assert (node.pid(), node.sealed()) == (before, False)
    assert '"@level":"debug"' in node.journal()
    succeeded, said = play()
    assert succeeded, said
    assert (node.pid(), node.sealed()) == (before, False)


def _longest_lease(node, single):
    return node.got("GET", "sys/mounts/kv/tune", token=single.token)["max_lease_ttl"] // 3600


def test_what_needs_a_restart_is_left_to_people(node, single, play):
    before = node.pid()
    # The second time, everything is written, and still not in force.
    for _ in range(2):
        succeeded, said = play(vault_max_lease_ttl="48h")
        assert not succeeded
        assert "vault_restart_allowed" in said
        assert (node.pid(), node.sealed()) == (before, False)
    node.host.check_output("systemctl restart vault")
    single.open(node)
    succeeded, said = play(vault_max_lease_ttl="48h")
    assert succeeded, said
    assert " changed=0 " in said
    assert _longest_lease(node, single) == 48


def test_unless_they_allow_it(node, single, play):
    succeeded, said = play(vault_max_lease_ttl="47h", vault_restart_allowed=True)
    assert succeeded, said
    assert node.sealed()
    # Sealed, it is restarted without being asked for.
    succeeded, said = play()
    assert succeeded, said
    single.open(node)
    assert _longest_lease(node, single) == 72


def test_a_new_certificate_takes_a_reload(node, play):
    before = node.pid()
    first = node.shown_certificate()
    node.host.check_output("rm /etc/credstore.encrypted/holdfast-tls-vault")
    succeeded, said = play()
    assert succeeded, said
    second = node.shown_certificate()
    assert first != second
    assert (node.pid(), node.sealed()) == (before, False)


@pytest.mark.parametrize("source", ["release", "go"])
def test_a_plugin_that_is_not_there_is_missed_unless_vault_has_it_built_in(play, tmp_path, source):
    """As the publisher's Vault has; ours, built from source, is without."""
    holdfast = Path(sys.executable).with_name("holdfast")
    command = [holdfast, "artifacts", "verify", "--json", "vault", _PLUGIN]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    rows["vault"]["source"] = source
    rows[_PLUGIN] |= {"state": "not fetched", "path": None}
    answer = tmp_path / "answer"
    answer.write_text(json.dumps(list(rows.values())), encoding="utf-8")
    ask = ["sh", "-c", 'cat "$0"', str(answer)]
    succeeded, said = play(__vault_program_verify=ask)
    assert succeeded is (source == "release")
    if not succeeded:
        assert f"{_PLUGIN} for amd64 is not in the artifact cache" in said
