"""Who is not the operators' neither joins, nor is joined."""

from datetime import timedelta

import pytest

from holdfast.local.ca import ensure_ca, sign

testinfra_hosts = ["ansible://bookworm1"]

_STRANGER = """
cluster_addr = "https://{address}:8301"
api_addr = "https://{address}:8300"
disable_mlock = true
storage "raft" {{
  path = "/var/lib/vault/stranger"
  node_id = "stranger"
  retry_join {{
    leader_api_addr = "https://{leader}:8200"
    leader_ca_cert_file = "{trust}"
  }}
}}
listener "tcp" {{
  address = "{address}:8300"
  tls_cert_file = "/run/holdfast/vault/tls.crt"
  tls_key_file = "/run/holdfast/vault/tls.key"
}}
"""


@pytest.fixture
def foreign(tmp_path):
    """A certification authority that signs the same names, and is not the operators'."""
    return ensure_ca(
        tmp_path / "foreign",
        name="molecule",
        domain="vault.test",
        addresses=["0.0.0.0/0", "::/0"],
    )


@pytest.fixture
def stranger(nodes):
    """A second Vault on the host of the single node, that wants to join the cluster."""
    node = nodes["bookworm1"]

    def start(leader, trust):
        text = _STRANGER.format(address=node.addresses[0], leader=leader.addresses[0], trust=trust)
        node.host.check_output("mkdir -p /run/stranger /var/lib/vault/stranger")
        node.host.check_output("printf %%s %s > /run/stranger/vault.hcl", text)
        node.host.check_output(
            "systemd-run --quiet --unit=stranger --collect"
            " /usr/local/bin/vault server -config=/run/stranger/vault.hcl"
        )

    yield start
    node.host.check_output("systemctl stop stranger; rm -r /run/stranger /var/lib/vault/stranger")


def _asks(node):
    """The second Vault's own word for whether it knows of a cluster."""
    done = node.host.run(
        "VAULT_ADDR=https://%s:8300 VAULT_CACERT=/etc/vault.d/operators-ca.crt"
        " vault status -format=json",
        node.addresses[0],
    )
    return '"initialized": true' in done.stdout


def test_it_joins_whom_it_can_verify_and_waits_for_shares(cluster, nodes, stranger, until):
    """To compare with what follows: known to nobody, and sealed."""
    stranger(until(cluster.leader), "/etc/vault.d/operators-ca.crt")
    until(lambda: _asks(nodes["bookworm1"]), seconds=30)
    assert set(cluster.raft()) == {"trixie1", "trixie2", "trixie3"}


def test_it_does_not_join_a_leader_of_another_authority(cluster, nodes, stranger, foreign, until):
    node = nodes["bookworm1"]
    node.host.check_output("mkdir -p /run/stranger")
    node.host.check_output(
        "printf %%s %s > /run/stranger/ca.crt", foreign.root.read_text(encoding="utf-8")
    )
    stranger(until(cluster.leader), "/run/stranger/ca.crt")
    until(lambda: "signed by unknown authority" in node.journal("stranger"), seconds=30)
    assert not _asks(node)
    assert set(cluster.raft()) == {"trixie1", "trixie2", "trixie3"}


def test_a_node_with_a_foreign_certificate_does_not_start(cluster, foreign):
    """Its own, with the right names: the unit refuses it, and the cluster stays two of three."""
    node = cluster.standbys()[0]
    request = node.host.check_output(
        "openssl req -new -batch -key /run/holdfast/vault/tls.key -subj /CN=x"
    )
    pem = sign(
        foreign,
        request.encode() + b"\n",
        names=[f"{node.name}.vault.test", "vault.vault.test"],
        addresses=[*node.addresses, "127.0.0.1", "::1"],
        validity=timedelta(days=30),
    )
    host = node.host
    host.check_output("cp -p /run/holdfast/vault/tls.crt /run/kept.crt")
    try:
        host.check_output("printf %%s %s > /run/holdfast/vault/tls.crt", pem.decode())
        assert host.run("systemctl restart vault").rc != 0
        assert "verification failed" in node.journal()
        assert host.check_output("ss -Hltn sport = :8200 or sport = :8201") == ""
    finally:
        host.check_output("mv /run/kept.crt /run/holdfast/vault/tls.crt")
        host.check_output("systemctl reset-failed vault; systemctl restart vault")
    cluster.open(node)
