"""What the agents write is in memory, for whom it is, and nowhere else."""

import pytest

_SEARCH = """
find / -xdev -type f -not -path '/proc/*' -not -path '/sys/*' -not -path '/dev/*' -print0 |
  xargs -0 grep --files-with-matches --fixed-strings --file=/dev/shm/needles
for place in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do
  tr '\\0' '\\n' < $place 2>/dev/null | grep --quiet --fixed-strings --file=/dev/shm/needles &&
    echo $place
done
journalctl --no-pager --output=export --all |
  grep --quiet --text --fixed-strings --file=/dev/shm/needles && echo journal
systemctl show '*' | grep --quiet --fixed-strings --file=/dev/shm/needles && echo units
true
"""


@pytest.mark.parametrize(
    ("service", "owner", "mode"),
    [("web", "holdfast-web root", "640"), ("mail", "letters letters", "600")],
)
def test_it_is_for_its_service_in_memory(trixie, service, owner, mode):
    folder = f"/run/holdfast/{service}"
    assert trixie.out(f"stat --format='%U %G %a' {folder}/tls.pem") == f"{owner} {mode}"
    assert trixie.out(f"stat --format='%U %G %a' {folder}") == f"{owner} 750"
    assert trixie.out(f"stat --file-system --format=%T {folder}/tls.pem") == "tmpfs"
    assert trixie.out(f"ls -A {folder}") == "tls.pem"
    # What the agent logged in with is gone.
    assert trixie.out(f"ls -A /run/holdfast-agent/{service}") == ""


def test_others_cannot_read_it(trixie):
    for account, path in (
        ("nobody", "web"),
        ("letters", "web"),
        ("holdfast-web", "mail"),
        ("www-data", "web"),
    ):
        status, _ = trixie.run(f"runuser -u {account} -- cat /run/holdfast/{path}/tls.pem")
        assert status != 0, account


def test_the_sealed_identity_is_roots_and_sealed(trixie):
    place = "/etc/credstore.encrypted/holdfast-vault-identity"
    assert trixie.out(f"stat --format='%U %G %a' {place}") == "root root 600"
    assert trixie.identity() not in trixie.out(f"cat {place}; base64 -d {place} | strings || true")


@pytest.mark.parametrize("name", ["trixie", "bookworm"])
def test_no_secret_is_anywhere_else(request, name):
    """Each host's identity and keys are searched for, and found where they are put to be found."""
    host = request.getfixturevalue(name)
    keys = host.out("cat /run/holdfast/*/tls.pem").split("-----BEGIN EC PRIVATE KEY-----")[1:]
    assert keys
    needles = [host.identity(), *(key.split("\n")[2] for key in keys)]
    assert all(len(needle) > 30 for needle in needles)
    host.out("umask 077; cat > /dev/shm/needles", stdin="\n".join(needles) + "\n")
    try:
        assert host.out(_SEARCH) == ""
        for place, needle in enumerate(needles):
            host.out(f"cat > /var/tmp/canary{place}", stdin=f"x{needle}x")
        host.out("systemd-cat -t canary", stdin=f"said: {needles[0]}")
        found = host.out(f"sleep 1; {_SEARCH}").split()
    finally:
        host.out("rm -f /dev/shm/needles /var/tmp/canary*; journalctl --rotate --vacuum-time=1s")
    assert set(found) >= {f"/var/tmp/canary{place}" for place in range(len(needles))}
    assert any("journal" in one for one in found), found


def test_no_token_of_vault_is_in_files_or_the_journal(trixie):
    """Every token begins so; the programs that know the word are not text."""
    found = trixie.out(
        "find /etc /var /root /home /srv /opt -xdev -type f -print0 |"
        " xargs -0 grep --files-with-matches --text --extended-regexp 'hv[sb]\\.[A-Za-z0-9_-]{20}'"
        " || true"
    )
    assert found == ""
    assert trixie.run("journalctl --no-pager -o cat | grep -E 'hv[sb]\\.[A-Za-z0-9_-]{20}'")[0] == 1


def test_the_agent_runs_as_its_services_account_and_caged(trixie):
    (pid,) = trixie.shown("holdfast-agent-web", "MainPID")
    status = trixie.out(f"cat /proc/{pid}/status")
    uid = trixie.out("id -u holdfast-web")
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status
    assert f"CapEff:\t{'0' * 16}" in status
    assert "NoNewPrivs:\t1" in status
    inside = f"nsenter --target {pid} --mount"
    assert trixie.run(f"{inside} touch /etc/x /run/holdfast/mail/x")[0] != 0
