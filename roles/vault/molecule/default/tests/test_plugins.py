"""Plugins run in Vault's cage, and only those whose digest was registered."""

testinfra_hosts = ["ansible://bookworm1"]

_NAME = "vault-plugin-database-postgresql"
_PATH = f"/usr/local/lib/vault/plugins/{_NAME}"


def _configure(node, single, digest):
    """Have Vault run the plugin: the status of the first request that needs it."""
    ask = {"token": single.token}
    body = {"sha256": digest, "command": _NAME}
    node.got("PUT", "sys/plugins/catalog/database/postgresql-database-plugin", body, **ask)
    node.ask("POST", "sys/mounts/database", {"type": "database"}, **ask)
    body = {
        "plugin_name": "postgresql-database-plugin",
        "connection_url": "postgresql://{{username}}:{{password}}@192.0.2.1/postgres",
        "verify_connection": False,
        "username": "nobody",
        "password": "nothing",
    }
    return node.ask("POST", "database/config/nowhere", body, **ask)


def test_it_is_roots_and_runs_in_vaults_cage(node, single):
    file = node.host.file(_PATH)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o755)
    status, said = _configure(node, single, file.sha256sum)
    assert status in (200, 204), said
    pid = node.host.check_output("pgrep --full %s", f"^{_PATH}")
    shown = node.host.check_output("cat /proc/%s/status", pid)
    assert "Seccomp:\t2" in shown
    assert f"CapBnd:\t{'0' * 16}" in shown
    assert "vault.service" in node.host.check_output("cat /proc/%s/cgroup", pid)
    node.got("DELETE", "sys/mounts/database", token=single.token)


def test_another_digest_is_refused(node, single):
    status, said = _configure(node, single, "0" * 64)
    assert status >= 400
    assert "checksum" in str(said)
    node.got("DELETE", "sys/mounts/database", token=single.token)
