"""One node: what it answers, and how it is caged."""

import http.client
import json

import pytest

testinfra_hosts = ["ansible://bookworm1"]


def _handshake(node, arguments):
    """`openssl s_client` on the host itself; all it says."""
    return node.host.run(
        f"openssl s_client -connect {node.addresses[0]}:8200 {arguments} </dev/null 2>&1"
    ).stdout


class TestListener:
    """TLS, as of today, where it should be."""

    def test_plain_http_gets_nothing(self, node):
        connection = http.client.HTTPConnection(node.addresses[0], 8200, timeout=10)
        connection.request("GET", "/v1/sys/seal-status")
        answer = connection.getresponse()
        assert answer.status == 400
        assert answer.read() == b"Client sent an HTTP request to an HTTPS server.\n"
        connection.close()

    @pytest.mark.parametrize("version", ["tls1", "tls1_1"])
    def test_old_versions_are_refused_by_vault(self, node, version):
        """By an alert: the client would speak them."""
        said = _handshake(node, f"-{version} -cipher DEFAULT:@SECLEVEL=0")
        assert "alert protocol version" in said

    @pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
    def test_new_versions_are_spoken(self, node, version):
        assert "Verification: OK" in _handshake(
            node, f"-{version} -CAfile /etc/vault.d/operators-ca.crt"
        )

    def test_an_old_cipher_is_refused_by_vault(self, node):
        said = _handshake(node, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        assert "alert handshake failure" in said

    def test_exactly_these_sockets(self, node):
        found = set()
        for line in node.host.check_output("ss -Hltnp").splitlines():
            if '"vault"' in line:
                found.add(line.split()[3])
        places = [f"[{one}]" if ":" in one else one for one in node.addresses]
        wanted = {
            f"{one}:{port}" for one in [*places, "127.0.0.1", "[::1]"] for port in (8200, 8201)
        }
        assert found == wanted

    @pytest.mark.parametrize(
        "path", ["sys/raw/core/seal-config", "sys/internal/inspect/router/root"]
    )
    def test_what_nobody_needs_is_not_there(self, node, single, path):
        assert node.ask("GET", path, token=single.token)[0] in (400, 404)

    def test_there_is_no_page_for_browsers(self, node):
        said = node.host.run(
            f"printf 'GET /ui/ HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet"
            f" -connect {node.addresses[0]}:8200 2>&1"
        ).stdout
        assert "HTTP/1.0 404" in said

    def test_metrics_without_a_token_on_loopback_only(self, node):
        assert node.ask("GET", "sys/metrics?format=prometheus")[0] == 403
        got = node.host.check_output(
            "python3 -c %s",
            "import ssl, urllib.request as u\n"
            "trust = ssl.create_default_context(cafile='/etc/vault.d/operators-ca.crt')\n"
            "ask = 'https://127.0.0.1:8200/v1/sys/metrics?format=prometheus'\n"
            "print(u.urlopen(ask, context=trust).read().decode())",
        )
        assert "vault_core_unsealed" in got


class TestCage:
    """What the process may do, by the kernel's word."""

    def test_privileges(self, node):
        status = dict(
            line.split(":\t", 1)
            for line in node.host.check_output("cat /proc/%s/status", node.pid()).splitlines()
            if ":\t" in line
        )
        uid = node.host.check_output("id -u vault")
        assert set(status["Uid"].split()) == {uid}
        assert (status["CapEff"], status["CapPrm"], status["CapBnd"]) == ("0" * 16,) * 3
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")

    def test_nothing_of_its_memory_reaches_a_disk(self, node):
        limits = node.host.check_output("cat /proc/%s/limits", node.pid())
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        shown = node.host.check_output("systemctl show --value -p MemorySwapMax vault")
        assert shown == "0"

    def test_it_writes_where_it_must_and_nowhere_else(self, node):
        inside = f"nsenter --target {node.pid()} --mount "
        for path in ("/var/lib/vault/x", "/var/log/vault/x"):
            node.host.check_output(f"{inside}sh -c 'touch {path} && rm {path}'")
        for path in ("/etc/vault.d/x", "/run/holdfast/vault/x", "/usr/local/lib/vault/x", "/run/x"):
            assert node.host.run(f"{inside}touch {path}").rc != 0
        assert node.host.check_output(f"{inside}ls -A /home") == ""


def test_files_are_for_whom_they_are(node):
    assert node.owners() == [
        "/etc/vault.d root:vault 750",
        "/etc/vault.d/operators-ca.crt root:vault 640",
        "/etc/vault.d/reload.hcl root:vault 640",
        "/etc/vault.d/vault.hcl root:vault 640",
        "/etc/vault.d/watch.json root:vault 640",
        "/var/lib/vault vault:vault 700",
        "/var/log/vault vault:vault 700",
        "/var/log/vault/audit.log vault:vault 600",
        "/run/holdfast/vault root:vault 750",
        "/run/holdfast/vault/tls.crt root:vault 640",
        "/run/holdfast/vault/tls.key root:vault 640",
    ]
    assert node.host.run("runuser -u nobody -- cat /run/holdfast/vault/tls.crt").rc != 0


def test_its_log_is_json(node):
    last = node.host.check_output("journalctl --no-pager --output=cat --lines=1 _COMM=vault")
    assert {"@level", "@message", "@timestamp"} <= set(json.loads(last))


def test_a_restarted_vault_waits_and_says_so(node):
    waits = "2 of 3 operators open it with `holdfast vault unseal`"
    before = node.journal().count(waits)
    node.host.check_output("systemctl restart vault")
    assert node.host.check_output("systemctl is-active vault") == "active"
    assert node.sealed()
    assert node.journal().count(waits) == before + 1
