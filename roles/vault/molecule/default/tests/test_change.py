"""A Vault at work is never restarted by surprise, and never left as it should not be."""

testinfra_hosts = ["ansible://bookworm1"]


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


def test_what_needs_a_restart_is_left_to_people(node, play):
    before = node.pid()
    # The second time, everything is written, and still not in force.
    for _ in range(2):
        succeeded, said = play(vault_max_lease_ttl="48h")
        assert not succeeded
        assert "vault_restart_allowed" in said
        assert (node.pid(), node.sealed()) == (before, False)


def test_unless_they_allow_it(node, single, play):
    succeeded, said = play(vault_max_lease_ttl="48h", vault_restart_allowed=True)
    assert succeeded, said
    assert node.sealed()
    succeeded, said = play(vault_max_lease_ttl="48h")
    assert succeeded, said
    assert " changed=0 " in said
    # Sealed, it is restarted without being asked for.
    succeeded, said = play()
    assert succeeded, said
    node.unseal(single.shares)
    found = node.got("GET", "sys/mounts/kv/tune", token=single.token)
    assert found["max_lease_ttl"] == 72 * 3600


def test_a_new_certificate_takes_a_reload(node, play):
    before = node.pid()
    first = node.shown_certificate()
    node.host.check_output("rm /etc/credstore.encrypted/holdfast-tls-vault")
    succeeded, said = play()
    assert succeeded, said
    second = node.shown_certificate()
    assert first != second
    assert (node.pid(), node.sealed()) == (before, False)
