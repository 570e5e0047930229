"""What the role wants is in force, or it is on record why not."""

import json

import pytest

_CONFIG = "/etc/holdfast/hardening.json"
_RECORD = "/var/lib/holdfast/hardening-unsettable.json"
_HARDEN = "/usr/local/lib/holdfast/harden"


def _json(host, path):
    return json.loads(host.file(path).content_string)


@pytest.fixture(scope="module")
def record(host):
    return _json(host, _RECORD)["unsettable"]


def _as(host, user, command):
    """Run a command in a login session of `user`, through PAM."""
    return host.run("runuser --login %s --command %s", user, command)


def test_every_kernel_setting_is_in_force_or_on_record(host, record):
    """No setting is skipped in silence, and none is on record that is in force."""
    recorded = {entry["name"] for entry in record if entry["kind"] == "sysctl"}
    different = set()
    for name, value in _json(host, _CONFIG)["sysctl"].items():
        found = host.check_output(
            "for p in /proc/sys/" + name.replace(".", "/") + "; do "
            'if [ -e "$p" ]; then echo "$p $(cat $p)"; else echo "$p -"; fi; done'
        )
        for line in found.splitlines():
            path, *words = line.split()
            if words != str(value).split():
                different.add(path.removeprefix("/proc/sys/").replace("/", "."))
    assert different == recorded
    assert all(entry["reason"] for entry in record)


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/dev/shm", {"nosuid", "nodev", "noexec"}),
        ("/proc", {"nosuid", "nodev", "noexec"}),
        ("/run", {"nosuid", "nodev"}),
        ("/tmp", {"nosuid", "nodev", "noexec"}),
        ("/var/tmp", {"nosuid", "nodev"}),
    ],
)
def test_mounts_have_their_options(host, path, options):
    assert options <= set(host.mount_point(path).options)


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_program_in_a_shared_folder_does_not_start(host, folder):
    program = f"{folder}/holdfast-test"
    host.check_output("cp /usr/bin/true %s && chmod 0755 %s", program, program)
    try:
        assert host.run(program).rc == 126
    finally:
        host.check_output("rm %s", program)


def test_boot_puts_mounts_back(host):
    """A boot starts from Debian's mounts; the unit of the boot brings the options back."""
    host.check_output("mount -o remount,exec /tmp")
    assert "noexec" not in host.mount_point("/tmp").options
    host.check_output("systemctl start holdfast-hardening.service")
    assert "noexec" in host.mount_point("/tmp").options
    wanted = host.check_output("systemctl show --value -P Wants sysinit.target")
    assert "holdfast-hardening.service" in wanted.split()


def test_real_host_fails_where_a_container_records(host, record):
    """The same settings that a container leaves to its machine are a failure elsewhere."""
    config = _json(host, _CONFIG)
    refused = [entry["name"] for entry in record if entry["reason"].startswith("could not")]
    assert refused
    assert host.run(f"{_HARDEN} --dry-run").rc == 0
    pretended = json.dumps({**config, "container": False})
    host.check_output("cp -p %s %s.kept && printf %%s %s >%s", _CONFIG, _CONFIG, pretended, _CONFIG)
    try:
        done = host.run(f"{_HARDEN} --dry-run")
        assert done.rc == 1
        assert refused[0] in done.stderr
    finally:
        host.check_output("mv %s.kept %s", _CONFIG, _CONFIG)


def test_services_and_sessions_leave_no_memory_dump(host):
    limit = "systemd-run --quiet --wait --pipe sh -c 'ulimit -H -c'"
    assert host.check_output(limit) == "0"
    assert _as(host, "ops", "ulimit -H -c").stdout.strip() == "0"


def test_new_files_are_closed_to_others(host):
    for user in ("ops", "root"):
        mask = int(_as(host, user, "umask").stdout, 8)
        assert mask & 0o027 in (0o027, 0o007), f"{user}: {mask:04o}"
    assert int(_as(host, "ops", "sudo -n sh -c umask").stdout, 8) & 0o007 == 0o007


def test_sudo_passes_nothing_on_and_is_logged(host):
    done = _as(host, "ops", "DISPLAY=:9 LEAK=1 LD_LIBRARY_PATH=/tmp PATH=/tmp:$PATH sudo -n env")
    passed_on = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert not {"DISPLAY", "LEAK", "LD_LIBRARY_PATH"} & set(passed_on)
    assert "/tmp" not in passed_on["PATH"]
    assert passed_on["HOME"] == "/root"
    marker = host.check_output("cat /proc/sys/kernel/random/uuid")
    assert _as(host, "ops", f"sudo -n true {marker}").rc == 0
    host.check_output("journalctl --sync")
    assert host.check_output("journalctl --output=cat _COMM=sudo --grep=%s", marker)


def test_only_these_programs_are_setuid(host):
    """The exact set, so that a package that brings another is seen."""
    found = host.check_output("find / -xdev -type f -perm /6000 2>/dev/null || true")
    assert set(found.split()) == {
        "/usr/bin/passwd",
        "/usr/bin/ssh-agent",
        "/usr/bin/sudo",
        "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
        "/usr/sbin/unix_chkpwd",
    }


@pytest.mark.parametrize("path", ["/etc/cron.allow", "/etc/at.allow"])
def test_only_root_plans_jobs(host, path):
    assert host.file(path).content_string == "root\n"
    assert (host.file(path).user, host.file(path).mode) == ("root", 0o644)


def test_units_of_ours_start_from_the_sandbox(host):
    unit = "/run/systemd/system/holdfast-test-sandbox.service"
    host.check_output(
        "printf '[Service]\\nExecStart=/usr/bin/true\\n' >%s; systemctl daemon-reload", unit
    )
    try:
        shown = host.check_output(
            "systemctl show holdfast-test-sandbox.service "
            "-P LockPersonality -P RestrictRealtime -P SystemCallArchitectures -P LimitCORE"
        )
        assert sorted(shown.split()) == ["0", "native", "yes", "yes"]
        host.check_output("systemctl start holdfast-test-sandbox.service")
    finally:
        host.check_output("rm %s; systemctl daemon-reload", unit)


def test_units_of_others_have_the_sandbox_that_is_wished(host):
    """systemd has read it, too."""
    shown = host.check_output("systemctl show apt-daily.service -P ProtectKernelLogs")
    assert shown == "yes"


@pytest.mark.parametrize("module", ["dccp", "sctp", "usb-storage"])
def test_blocked_module_is_configured(host, module, record):
    """A kernel of its own would show whether it can be loaded; here that is on record."""
    lines = host.file("/etc/modprobe.d/holdfast.conf").content_string.splitlines()
    assert f"install {module} /bin/false" in lines
    assert module in {entry["name"] for entry in record if entry["kind"] == "module"}


@pytest.fixture
def person(host):
    """An account with a password that sudo asks for, and nothing else."""
    name, rule = "holdfast-guess", "/etc/sudoers.d/holdfast-test"
    host.check_output("useradd --create-home %s && echo %s:right | chpasswd", name, name)
    host.check_output("echo '%s ALL=(root) PASSWD: /usr/bin/true' >%s", name, rule)
    yield name
    host.check_output("rm %s; faillock --user %s --reset; userdel --remove %s", rule, name, name)


def _sudo_with(host, name, password):
    return _as(host, name, f"echo {password} | sudo -k -S -p '' /usr/bin/true").rc == 0


def test_guessing_passwords_is_stopped_and_ends(host, person):
    """The right password opens, also after a wrong one; after five it does not, until reset."""
    assert not _sudo_with(host, person, "wrong")
    assert _sudo_with(host, person, "right")
    for _ in range(5):
        assert not _sudo_with(host, person, "wrong")
    assert not _sudo_with(host, person, "right")
    host.check_output("faillock --user %s --reset", person)
    assert _sudo_with(host, person, "right")


def test_guessing_does_not_lock_an_administrator_out(host):
    """Whoever guesses at an administrator's password does not take key and sudo from them."""
    for _ in range(6):
        host.run("runuser -u ops -- sh -c 'echo wrong | sudo -k -S -p \"\" -u nobody true'")
        host.check_output("runuser -u ops -- faillock --user ops || true")
    assert _as(host, "ops", "sudo -n true").rc == 0
