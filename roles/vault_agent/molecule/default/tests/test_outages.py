"""Vault is away, sealed, or forgets: what runs goes on, and what was lost comes back by itself."""

import time
from datetime import UTC, datetime

import pytest

_AGENT, _WEB = "holdfast-agent-web.service", "nginx.service"


def _same(host):
    """What changes when the service is restarted, and not when it is reloaded."""
    return host.shown(_WEB, "MainPID", "ExecMainStartTimestampMonotonic", "NRestarts")


def _renewed(host, before, until, *, seconds=60):
    until(lambda: host.certificate().serial_number != before.serial_number, seconds=seconds)
    until(lambda: host.served() == host.certificate(), seconds=20)


@pytest.fixture
def brief(trixie, shorter, until):
    """A certificate for so many seconds; it is put right afterwards."""

    def work(seconds, **more):
        before = trixie.certificate()
        shorter("holdfast-trixie1-web", certificate=seconds, **more)
        trixie.out(f"systemctl restart {_AGENT}")
        _renewed(trixie, before, until)

    return work


@pytest.fixture(autouse=True)
def _afterwards(unseal, keeper):
    yield
    keeper.out("systemctl start vault")
    unseal()


def test_renewal_is_a_reload_of_the_service(trixie, brief, until):
    brief(20)
    kept, agent = _same(trixie), trixie.shown(_AGENT, "MainPID")
    _renewed(trixie, trixie.certificate(), until, seconds=30)
    assert _same(trixie) == kept
    assert trixie.shown(_AGENT, "MainPID") == agent


def test_an_outage_is_told_before_it_bites_and_heals_by_itself(
    trixie, keeper, brief, until, unseal
):
    """First there is no Vault, then a sealed one."""

    def material():
        # Looked at more often than the timer does.
        trixie.out(
            "rm -f /run/told-of-holdfast-material.service;"
            " systemctl reset-failed holdfast-material.service 2>/dev/null || true"
        )
        return trixie.run("systemctl start holdfast-material.service")[0] == 0

    brief(48)
    before = trixie.certificate()
    kept, agent = _same(trixie), trixie.shown(_AGENT, "MainPID")
    assert material()
    keeper.out("systemctl stop vault")
    until(lambda: not material(), seconds=45, pause=1)
    assert datetime.now(UTC) < before.not_valid_after_utc
    assert "The certificate of web was not renewed" in trixie.journal("holdfast-material")
    until(lambda: trixie.answers("test -e /run/told-of-holdfast-material.service"), seconds=10)
    assert trixie.served() == before  # still served, and still valid
    keeper.out("systemctl start vault")
    time.sleep(6)
    assert trixie.certificate() == before
    unseal()
    _renewed(trixie, before, until, seconds=90)
    assert _same(trixie) == kept
    assert trixie.shown(_AGENT, "MainPID") == agent
    assert material()


def test_an_agent_whose_login_was_revoked_logs_in_again(trixie, root, brief, until):
    brief(30, token=20)
    before, kept = trixie.certificate(), _same(trixie)
    revoked = 0
    for accessor in root.list("auth/token/accessors"):
        found = root.write("auth/token/lookup-accessor", {"accessor": accessor})
        if (found.get("meta") or {}).get("role_name") == "holdfast-trixie1-web":
            root.write("auth/token/revoke-accessor", {"accessor": accessor})
            revoked += 1
    assert revoked
    _renewed(trixie, before, until, seconds=90)
    assert _same(trixie) == kept
    assert trixie.shown(_AGENT, "ActiveState") == ["active"]


def test_a_host_whose_identity_was_revoked_says_what_to_do(bookworm, root, play):
    role = "auth/approle/role/holdfast-bookworm1"
    for accessor in root.list(f"{role}/secret-id"):
        root.write(f"{role}/secret-id-accessor/destroy", {"secret_id_accessor": accessor})
    status, said = bookworm.run("/usr/local/lib/holdfast/vault-identity hand web")
    assert status == 3
    assert "Run the site's playbook: it makes a new one." in said
    assert bookworm.served()  # what runs goes on
    changed = play("--limit", "bookworm1")
    assert {task for task, _, _ in changed} == {"vault_agent : Ensure Vault knows this host"}
    bookworm.out("/usr/local/lib/holdfast/vault-identity hand web")
    bookworm.out("rm /run/holdfast-agent/web/secret-id")


def test_a_reboot_while_vault_is_sealed_waits_for_people_and_names_them(
    bookworm, root, until, unseal
):
    root.write("sys/seal", {})
    bookworm.restart()
    until(lambda: "is sealed" in bookworm.journal())
    words = "2 of anna, ben, cara have to run `holdfast vault unseal`"
    assert words in bookworm.journal()
    assert bookworm.shown(_AGENT, "ActiveState") == ["activating"]
    assert bookworm.run("test -e /run/holdfast/web/tls.pem")[0] != 0
    assert bookworm.run(f"systemctl is-active {_WEB}")[0] != 0
    unseal()
    until(lambda: bookworm.answers(f"systemctl is-active {_WEB}"), seconds=60)
    until(lambda: bookworm.served() == bookworm.certificate())
