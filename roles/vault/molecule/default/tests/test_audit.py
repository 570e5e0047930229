"""No answer without a line in the audit log, no line lost, and room for more."""

import time

testinfra_hosts = ["ansible://bookworm1"]


def _lines(node, path):
    return [line for line in node.host.check_output(f"cat {path}").splitlines() if line]


def test_every_line_is_in_the_journal_once_over_a_rotation(node, single, until):
    log = "/var/log/vault/audit.log"
    for number in range(20):
        assert single.write(node, f"before-{number}", "x")
    node.host.check_output("logrotate --force /etc/logrotate.d/vault")
    until(lambda: node.host.file(log).exists)
    for number in range(20):
        assert single.write(node, f"after-{number}", "x")
    assert node.host.file(log).mode == 0o600
    old, new = _lines(node, f"{log}.1"), _lines(node, log)
    # A request and its answer.
    assert len([one for one in new if '"path":"kv/after-' in one]) == 40
    assert len([one for one in old if '"path":"kv/before-' in one]) == 40

    def copied():
        journal = node.journal("holdfast-vault-audit").splitlines()
        return all(journal.count(line) == 1 for line in [*old, *new])

    until(copied)
    assert '"value":"x"' not in node.journal("holdfast-vault-audit")


def test_a_copier_that_was_killed_goes_on(node, single, until):
    name = f"while-away-{time.time_ns()}"
    node.host.check_output("systemctl kill --signal=KILL holdfast-vault-audit")
    assert single.write(node, name, "x")
    assert f'"path":"kv/{name}"' not in node.journal("holdfast-vault-audit")
    node.host.check_output("systemctl start holdfast-vault-audit")
    # A request and its answer.
    until(lambda: node.journal("holdfast-vault-audit").count(f'"path":"kv/{name}"') == 2)
