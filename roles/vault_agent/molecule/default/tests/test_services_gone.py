"""A service that is not listed any more leaves nothing; the last one takes the identity along."""

_ROLES = (
    "/etc/holdfast/agent* /etc/holdfast/vault.json /etc/holdfast/*-ca.crt"
    " /etc/credstore.encrypted/* /etc/systemd/system/*.wants/holdfast-*"
    " /etc/systemd/system/holdfast-agent-* /etc/systemd/system/holdfast-re*"
    " /etc/systemd/system/holdfast-material*"
    " /usr/local/lib/holdfast/vault-identity /usr/local/lib/holdfast/material"
    " /run/holdfast/* /run/holdfast-agent*"
)


def _left(host, service=""):
    """Everything that the role keeps, or what of it has the service in its name."""
    said = host.out(f"for one in {_ROLES}; do test ! -e $one -a ! -L $one || find $one; done")
    return [one for one in said.split() if service in one]


def test_one_of_two_goes(trixie, play, site):
    listed = [
        one
        for one in site.inventory.hosts["trixie1"].variables["vault_agent_services"]
        if one["service"] != "mail"
    ]
    assert len(_left(trixie, "mail")) >= 7
    account = trixie.out("getent passwd letters")
    only = {"vault_agent_services": listed}
    checked = play("--limit", "client", "--check", **only)
    assert trixie.run("systemctl is-active holdfast-agent-mail")[0] == 0
    changed = play("--limit", "client", **only)
    assert changed == checked
    assert {host for _, host, _ in changed} == {"trixie1"}
    assert play("--limit", "client", **only) == set()
    assert _left(trixie, "mail") == []
    assert trixie.run("systemctl is-active holdfast-agent-mail")[0] != 0
    assert "mail" not in trixie.out("systemctl list-units --all 'holdfast-*'; pgrep -a vault")
    # The package's account is as the package made it; the other service is as it was.
    assert trixie.out("getent passwd letters") == account
    assert trixie.served() == trixie.certificate()
    assert trixie.out("systemctl is-active letters") == "active"


def test_a_killed_removal_is_finished(trixie, play, site):
    """As it stands when it was killed among the files."""
    listed = [
        one
        for one in site.inventory.hosts["trixie1"].variables["vault_agent_services"]
        if one["service"] != "mail"
    ]
    trixie.out("echo x > /etc/holdfast/agent/mail.role-id; mkdir -p /run/holdfast/mail")
    play("--limit", "trixie1", vault_agent_services=listed)
    assert _left(trixie, "mail") == []


def test_with_the_last_the_identity_goes(trixie, bookworm, play):
    sealed = "/etc/credstore.encrypted/holdfast-vault-identity"
    for host in (trixie, bookworm):
        host.out(f"test -e {sealed}")
    checked = play("--limit", "client", "--check", vault_agent_services=[])
    trixie.out(f"test -e {sealed}")
    changed = play("--limit", "client", vault_agent_services=[])
    assert changed == checked
    assert {host for _, host, _ in changed} == {"trixie1", "bookworm1"}
    assert play("--limit", "client", vault_agent_services=[]) == set()
    for host in (trixie, bookworm):
        assert host.run(f"test -e {sealed}")[0] != 0
        assert host.run("pgrep -u holdfast-web")[0] == 1
        assert host.out("systemctl list-units --all --no-legend 'holdfast-agent-*'") == ""
        assert host.out("systemctl list-timers --all --no-legend 'holdfast-material*'") == ""
        assert host.out("ls -A /run/holdfast") == ""
        assert _left(host) == []


def test_and_comes_back(trixie, bookworm, play):
    play()
    for host in (trixie, bookworm):
        host.out("systemctl is-active holdfast-agent-web")
        host.out("/usr/local/lib/holdfast/vault-identity check")
