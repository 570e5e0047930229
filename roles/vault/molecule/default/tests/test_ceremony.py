"""A node's part in the ceremony: after its end nothing is wiped."""

testinfra_hosts = ["ansible://bookworm1"]


class TestCeremony:
    """After its end nothing is wiped."""

    _COMMAND = "/usr/local/lib/holdfast/vault-ceremony"

    def test_complete_is_for_good(self, node, single):
        host = node.host
        assert single.write(node, "kept", "precious")
        assert host.check_output(f"{self._COMMAND} state") == "begun"
        host.check_output(f"{self._COMMAND} complete")
        before, files = node.pid(), host.check_output("find /var/lib/vault /var/log/vault | sort")
        done = host.run(f"{self._COMMAND} begin")
        assert (done.rc, done.stdout) == (1, "")
        assert "never wiped" in done.stderr
        assert host.check_output("find /var/lib/vault /var/log/vault | sort") == files
        assert (node.pid(), node.sealed()) == (before, False)
        assert single.read(node, "kept") == "precious"
        assert host.check_output(f"{self._COMMAND} state") == "complete"

    def test_it_is_for_root(self, node):
        done = node.host.run(f"runuser -u nobody -- {self._COMMAND} begin")
        assert done.rc == 1
        assert "run it as root" in done.stderr


def test_stranger_initialised(node):
    """Where the marks are lost, the data are still somebody's."""
    host = node.host
    host.check_output(
        "mv /var/lib/holdfast/vault /var/lib/holdfast/kept; mkdir /var/lib/holdfast/vault"
    )
    try:
        before = host.check_output("find /var/lib/vault | sort")
        done = host.run("/usr/local/lib/holdfast/vault-ceremony begin")
        assert done.rc == 1
        assert "somebody's" in done.stderr
        assert host.check_output("find /var/lib/vault | sort") == before
        assert not node.sealed()
    finally:
        host.check_output(
            "rm -r /var/lib/holdfast/vault; mv /var/lib/holdfast/kept /var/lib/holdfast/vault"
        )
