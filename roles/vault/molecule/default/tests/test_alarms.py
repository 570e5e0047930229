"""People are told before it hurts."""

from datetime import timedelta

from holdfast.local.ca import load_ca, sign

testinfra_hosts = ["ansible://bookworm1"]


def _look(node, watched):
    """Whether it is told, and what the journal says."""
    unit = f"holdfast-vault-watch@{watched}.service"
    told = f"/run/told-of-{unit}"
    node.host.check_output("rm -f %s", told)
    failed = node.host.run("systemctl start %s", unit).rc != 0
    if failed:
        node.host.check_output(f"timeout 10 sh -c 'until test -e {told}; do sleep 0.2; done'")
    return failed, node.journal(unit)


def _long_ago(node):
    """Have it that Vault has been so since the machine's boot."""
    node.host.check_output("echo 0 > /run/holdfast-vault-watch/since")


def test_all_of_them_are_looked_for(node):
    for watched in ("audit-disk", "certificate", "seal"):
        timer = f"holdfast-vault-watch@{watched}.timer"
        assert node.host.check_output("systemctl is-active %s", timer) == "active"
        assert node.host.check_output("systemctl is-enabled %s", timer) == "enabled"
        shown = node.host.check_output(
            "systemctl show --value -p NextElapseUSecMonotonic %s", timer
        )
        assert shown not in ("", "infinity")


def test_a_full_audit_disk_is_told_before_vault_stops(node, single):
    host = node.host
    host.check_output("systemctl stop vault")
    host.check_output(
        "mount -t tmpfs -o size=64m,mode=0700,uid=vault,gid=vault tmpfs /var/log/vault"
    )
    try:
        host.check_output("systemctl start vault")
        single.open(node)
        assert not _look(node, "audit-disk")[0]
        host.check_output("fallocate -l 52M /var/log/vault/filler")
        failed, journal = _look(node, "audit-disk")
        assert failed
        assert "are free for Vault's audit log, less than" in journal
        # Told, and at work.
        assert single.write(node, "almost-full", "x")
        host.run("fallocate -l 20M /var/log/vault/filler2")
        host.run("dd if=/dev/zero of=/var/log/vault/filler3 bs=1k status=none")
        # An answer that cannot be recorded is not given.
        assert node.ask("GET", "kv/almost-full", token=single.token)[0] == 500
        host.check_output("rm /var/log/vault/filler*")
        assert single.read(node, "almost-full") == "x"
        assert not _look(node, "audit-disk")[0]
    finally:
        host.check_output("systemctl stop vault; umount /var/log/vault; systemctl start vault")


def test_a_certificate_near_its_end(node, authority):
    assert not _look(node, "certificate")[0]
    request = node.host.check_output(
        "openssl req -new -batch -key /run/holdfast/vault/tls.key -subj /CN=x"
    )
    pem = sign(
        load_ca(authority),
        request.encode() + b"\n",
        names=["bookworm1.vault.test"],
        addresses=[*node.addresses, "127.0.0.1", "::1"],
        validity=timedelta(days=29),
    )
    place = "/run/holdfast/vault/tls.crt"
    before = node.pid()
    node.host.check_output(f"cp -p {place} /run/kept.crt")
    try:
        node.host.check_output(f"printf %%s %s > {place}", pem.decode())
        # What is shown counts, not what lies there.
        assert not _look(node, "certificate")[0]
        node.host.check_output("systemctl reload vault && sleep 1")
        failed, journal = _look(node, "certificate")
        assert failed
        assert "and nothing reaches Vault afterwards" in journal
    finally:
        node.host.check_output(f"mv /run/kept.crt {place}; systemctl reload vault && sleep 1")
    assert not _look(node, "certificate")[0]
    assert (node.pid(), node.sealed()) == (before, False)


def test_a_sealed_vault(node, single):
    node.got("PUT", "sys/seal", token=single.token)
    assert not _look(node, "seal")[0]
    _long_ago(node)
    failed, journal = _look(node, "seal")
    assert failed
    assert "2 of 3 operators open it" in journal
    single.open(node)
    assert not _look(node, "seal")[0]
    assert not node.host.file("/run/holdfast-vault-watch/since").exists


def test_a_silent_vault(node):
    node.host.check_output("systemctl stop vault")
    assert not _look(node, "seal")[0]
    _long_ago(node)
    failed, journal = _look(node, "seal")
    assert failed
    assert "Vault does not answer" in journal
    node.host.check_output("systemctl start vault")
