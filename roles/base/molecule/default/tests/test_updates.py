"""Security updates arrive by themselves, from the security archive only, and only when signed.

Two small archives on the host play Debian-Security and Debian. A service of the test uses a
library that gets a new version.
"""

import time
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).with_name("archive.sh").read_text(encoding="utf-8")
_SECURITY, _PLAIN = ("security", "Debian-Security"), ("plain", "Debian")


def _archive(host, *words):
    return host.check_output("bash -c %s archive" + " %s" * len(words), _SCRIPT, *words)


def _publish(host, archive, package, version, *, key="right"):
    folder, label = archive
    codename = host.system_info.codename + ("-security" if archive is _SECURITY else "")
    _archive(host, "package", folder, package, version)
    _archive(host, "index", folder, label, codename, key)


def _start(host, unit):
    """Run a timer's own unit to its end; True when it ended well."""
    return host.run("systemctl start %s", unit).rc == 0


def _version(host, package):
    return host.check_output("dpkg-query -Wf '${Version}' %s", package)


def _journal(host, unit, *arguments):
    return host.check_output(
        "journalctl --no-pager --output=cat --unit=%s" + " %s" * len(arguments), unit, *arguments
    )


def _told(host, unit, since):
    """Whether the journal says at priority crit that the unit failed; the notifier gets 10 s."""
    sentence = f"{unit} failed with the result 'exit-code'"
    for _ in range(20):
        arguments = ("--priority=crit", f"--since={since}")
        if sentence in _journal(host, f"holdfast-notify@{unit}.service", *arguments):
            return True
        time.sleep(0.5)
    return False


@pytest.fixture(scope="module", autouse=True)
def archives(host):
    """Both archives with version 1 of both packages, installed, and the service running."""
    try:
        _archive(host, "prepare")
        for archive, package in ((_SECURITY, "libcipher"), (_PLAIN, "libother")):
            _publish(host, archive, package, "1")
        host.check_output("apt-get -qq update && apt-get -qq install -y libcipher libother")
        _archive(host, "service")
        yield
    finally:
        _archive(host, "restore")


def test_update_is_installed_and_the_service_restarted(host):
    """The timers' own units bring the new library in and nothing else, and nothing old runs on."""
    for stage in ("", "-upgrade"):
        timer = f"apt-daily{stage}.timer"
        assert host.check_output("systemctl show --value -P Triggers %s", timer) == (
            f"apt-daily{stage}.service"
        )
        assert host.service(timer).is_enabled
        assert host.service(timer).is_running
    _publish(host, _SECURITY, "libcipher", "2")
    _publish(host, _PLAIN, "libother", "2")
    before = host.check_output("systemctl show --value -P MainPID test-cipher.service")

    assert _start(host, "apt-daily.service"), _journal(host, "apt-daily.service")
    assert _start(host, "apt-daily-upgrade.service"), _journal(host, "apt-daily-upgrade.service")

    assert _version(host, "libcipher") == "2", _journal(host, "apt-daily-upgrade.service")
    assert _version(host, "libother") == "1"
    after = host.check_output("systemctl show --value -P MainPID test-cipher.service")
    assert after not in (before, "0")
    used = host.check_output("grep libcipher /proc/%s/maps", after)
    assert "(deleted)" not in used
    inode = str(host.file("/usr/lib/holdfast-test/libcipher.so.1").inode)
    assert inode in used.split()


def test_package_that_waits_is_a_candidate(host):
    """The package left behind was offered: it was the policy that kept it, not its absence."""
    assert "Candidate: 2" in host.check_output("apt-cache policy libother")


def _unsigned(host):
    _publish(host, _SECURITY, "libcipher", "3", key="")


def _wrong_key(host):
    _publish(host, _SECURITY, "libcipher", "3", key="wrong")


def _altered_index(host):
    _publish(host, _SECURITY, "libcipher", "3")
    host.check_output(
        "sed -i 's/^Description: .*/Description: another/' "
        "/srv/holdfast-test/security/dists/*/main/binary-amd64/Packages"
    )


def _altered_package(host):
    _publish(host, _SECURITY, "libcipher", "3")
    package = "/srv/holdfast-test/security/pool/libcipher_3_all.deb"
    host.check_output("printf X | dd of=%s bs=1 seek=200 conv=notrunc status=none", package)


@pytest.mark.parametrize(
    ("spoil", "notices"),
    [
        (_unsigned, "apt-daily.service"),
        (_wrong_key, "apt-daily.service"),
        (_altered_index, "apt-daily.service"),
        # The index is genuine; a download alone that fails is no failure to unattended-upgrade.
        (_altered_package, "apt-daily-upgrade.service"),
    ],
)
def test_archive_that_is_not_genuine_is_refused_and_told(host, spoil, notices):
    """Nothing of it is installed, the unit fails, and its failure is told at priority crit."""
    version = _version(host, "libcipher")
    host.check_output("systemctl reset-failed; journalctl --sync")
    since = host.check_output("date +@%s", "%s.%N")
    spoil(host)

    ended_well = {
        unit: _start(host, unit) for unit in ("apt-daily.service", "apt-daily-upgrade.service")
    }

    assert not ended_well[notices], _journal(host, notices)
    assert _version(host, "libcipher") == version
    assert _told(host, notices, since)
