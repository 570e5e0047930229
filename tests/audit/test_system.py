"""H5 and H6: kernel settings and the state of the host's own services."""

import re

import pytest

from holdfast.audit.outcomes import NotEvaluated

# What the kernel must be told, and why it is asked: values that must hold on a running server.
_KERNEL = {
    "kernel.kptr_restrict": "2",
    "kernel.dmesg_restrict": "1",
    "kernel.yama.ptrace_scope": "1",
    "kernel.unprivileged_bpf_disabled": "1",
    "net.core.bpf_jit_harden": "2",
    "fs.protected_hardlinks": "1",
    "fs.protected_symlinks": "1",
    "fs.protected_fifos": "2",
    "fs.protected_regular": "2",
    "fs.suid_dumpable": "0",
    "kernel.randomize_va_space": "2",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv4.ip_forward": "0",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.all.accept_source_route": "0",
    "net.ipv6.conf.all.accept_redirects": "0",
    "net.ipv6.conf.all.forwarding": "0",
}


@pytest.mark.control("H5", kind="declared")
def test_kernel_settings_are_configured(host):
    """The files that are applied at boot end in the wanted values"""
    said = host.check_output("systemd-analyze cat-config sysctl.d")
    configured = {}
    for line in said.splitlines():
        found = re.match(r"^\s*-?([\w.*/-]+)\s*=\s*(.*?)\s*$", line)
        if found:
            configured[found[1].replace("/", ".")] = found[2]
    problems = [
        f"{key} is configured as {configured.get(key)}, not {value}"
        for key, value in _KERNEL.items()
        if configured.get(key) != value
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.control("H5", kind="effective")
def test_kernel_settings_hold(host):
    """The running kernel has the wanted values"""
    if host.run("systemd-detect-virt --quiet --container").rc == 0:
        raise NotEvaluated("a container has the kernel of its machine and cannot set it")
    said = host.check_output("sysctl " + " ".join(_KERNEL))
    running = dict(line.split(" = ", 1) for line in said.splitlines())
    problems = [
        f"{key} is {running.get(key)}, not {value}"
        for key, value in _KERNEL.items()
        if running.get(key) != value
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.control("H6", kind="effective")
def test_no_unit_has_failed(host):
    """No service of the host is in the state failed"""
    failed = host.check_output("systemctl --failed --plain --no-legend --no-pager")
    assert not failed, failed


@pytest.mark.control("H6", kind="effective")
def test_the_journal_survives_a_reboot(host):
    """What happened is kept on disk"""
    said = host.check_output("journalctl --header --no-pager | grep '^File path:'")
    assert "/var/log/journal/" in said, f"the journal is in memory only:\n{said}"


@pytest.mark.control("H6", kind="effective")
def test_failures_are_told(host):
    """Every timer and service of the installation tells somebody when it fails"""
    units = host.check_output(
        "systemctl list-unit-files --plain --no-legend --type=service,timer 'holdfast-*' "
        "| awk '{print $1}'"
    ).split()
    units += ["apt-daily.service", "apt-daily-upgrade.service"]
    silent = [
        unit
        for unit in units
        if not unit.startswith("holdfast-notify@")
        and "@." not in unit
        and "holdfast-notify@" not in host.check_output("systemctl show %s -p OnFailure", unit)
    ]
    assert not silent, f"nobody is told when these fail: {', '.join(silent)}"
