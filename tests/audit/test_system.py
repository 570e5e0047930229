"""H5, H6 and H8: the kernel, the host's own services, and what a session may do."""

import fnmatch
import re

import pytest

from holdfast.audit.outcomes import NotEvaluated

_SETUID = {
    "/usr/bin/sudo",
    "/usr/bin/passwd",
    "/usr/bin/crontab",
    "/usr/bin/ssh-agent",
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
    "/usr/lib/polkit-1/polkit-agent-helper-1",
    "/usr/sbin/unix_chkpwd",
}
# Debian's packages give these theirs by capabilities instead.
_CAPABLE = {"/usr/bin/ping": ["net_raw"], "/usr/lib/squid/pinger": ["net_raw"]}


@pytest.fixture
def kernel(target, wanted):
    """The kernel settings that are wanted of a host: by name, with * for every interface."""
    return {
        **wanted(target, "hardening", "hardening_sysctl"),
        **(wanted(target, "hardening", "hardening_sysctl_changes") or {}),
    }


def _contained(host):
    return host.run("systemd-detect-virt --quiet --container").rc == 0


@pytest.mark.control("H5", kind="declared")
def test_kernel_settings_are_configured(host, kernel):
    """The files that are applied at boot end in the wanted values"""
    said = host.check_output("systemd-analyze cat-config sysctl.d")
    configured = {}
    for line in said.splitlines():
        found = re.match(r"^\s*-?([\w.*/-]+)\s*=\s*(.*?)\s*$", line)
        if found:
            configured[found[1].replace("/", ".")] = found[2]
    problems = []
    for name, value in kernel.items():
        # A later file may name one interface, or all that another pattern names.
        said_last = {
            key: text
            for key, text in configured.items()
            if key == name or fnmatch.fnmatch(key, name)
        }
        problems += [
            f"{key} is configured as {text}, not {value}"
            for key, text in said_last.items()
            if text != str(value)
        ]
        if name not in said_last:
            problems.append(f"{name} is not configured")
    assert not problems, "\n".join(problems)


@pytest.mark.control("H5", kind="effective")
def test_kernel_settings_hold(host, kernel):
    """The running kernel has the wanted values, and so has each network interface"""
    said = host.check_output("sysctl --all 2>/dev/null")
    running = dict(line.split(" = ", 1) for line in said.splitlines() if " = " in line)
    differing = [
        f"{key} is {running[key]}, not {value}"
        for name, value in kernel.items()
        for key in fnmatch.filter(running, name)
        if running[key].split() != str(value).split()
    ]
    assert running, "the kernel's settings cannot be read"
    unknown = sorted(name for name in kernel if not fnmatch.filter(running, name))
    unseen = [f"this kernel does not know: {', '.join(unknown)}"] if unknown else []
    if differing and _contained(host):
        raise NotEvaluated(
            "; ".join(["a container has its machine's kernel and cannot set it", *unseen])
        )
    assert not differing, "\n".join(differing)
    if unknown:
        raise NotEvaluated(unseen[0])


@pytest.mark.control("H8", kind="effective")
def test_folders_for_everybody_run_nothing(target, host, wanted):
    """Folders that everybody may write to are mounted so that nothing planted there has power"""
    said = host.check_output("findmnt --list --noheadings --output TARGET,OPTIONS,VFS-OPTIONS")
    mounted = {}
    for line in said.splitlines():
        path, *options = line.split()
        mounted[path] = set(",".join(options).split(","))
    problems = [
        f"{path} lacks {', '.join(sorted(set(options) - mounted.get(path, set())))}"
        for path, options in wanted(target, "hardening", "hardening_mounts").items()
        if set(options) - mounted.get(path, set())
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.control("H8", kind="effective")
def test_exactly_the_needed_programs_act_for_others(host, probes):
    """The programs that run with rights of their own are the needed ones, on every file system"""
    powers = probes.run(host, "powers")
    found = set(powers["setuid"])
    assert found <= _SETUID, f"beyond the needed ones: {', '.join(sorted(found - _SETUID))}"
    assert "/usr/bin/sudo" in found, "not even sudo was found"
    capable = [
        f"{path} ({', '.join(held)})"
        for path, held in powers["capabilities"].items()
        if _CAPABLE.get(path) != held
    ]
    assert not capable, f"capabilities beyond the needed ones: {'; '.join(capable)}"


@pytest.mark.control("H8", kind="effective")
def test_no_memory_is_dumped(host):
    """A service that crashes leaves no picture of its memory, which holds keys"""
    limits = host.check_output(
        "systemctl show --property DefaultLimitCORE --value; "
        "for pid in $(systemctl show --property MainPID --value '*.service' | grep -v '^0*$'); do "
        "grep -H 'Max core file size' /proc/$pid/limits; done 2>/dev/null"
    ).splitlines()
    dumping = [line for line in limits[1:] if line.split()[4] != "0"]
    assert limits[0] == "0", f"services may dump {limits[0]} bytes"
    assert not dumping, "\n".join(dumping)


@pytest.mark.control("H6", kind="effective")
def test_no_unit_has_failed(host):
    """No service of the host is in the state failed"""
    failed = host.check_output("systemctl --failed --plain --no-legend --no-pager")
    assert not failed, failed


@pytest.mark.control("H6", kind="effective")
def test_the_journal_survives_a_reboot(host):
    """What happened is kept on disk"""
    said = host.check_output("journalctl --header --no-pager")
    files = re.findall(r"^File path: (.*)$", said, re.MULTILINE)
    kept = [path for path in files if re.fullmatch(r"/var/log/journal/\w+/system\.journal", path)]
    fleeting = [path for path in files if path.startswith("/run/")]
    assert kept, f"the system's journal is not among {files}"
    assert not fleeting, f"written to memory: {', '.join(fleeting)}"


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
