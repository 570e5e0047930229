"""Accounts, time, journal, packages and the notification of failures, on a converged host.

The scenario's preparation left an account `stranger` with a key, the group sudo and a rule of its
own, and the same key in root's account.
"""

import json
import time

import pytest

_KEY = "/home/stranger/.ssh/id_ed25519"


def _login(host, name):
    options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    # 255, ssh's own failure, would look like one of the connection to the host.
    return host.run(f"ssh {options} -i {_KEY} {name}@127.0.0.1 true || exit 1")


def test_only_administrators_are_people_with_a_login(host):
    """The exact set of accounts with a person's id that can still be used."""
    usable = set()
    for line in host.check_output("getent passwd").splitlines():
        name, _, uid, *_, shell = line.split(":")
        expires = host.check_output("getent shadow %s", name).split(":")[7]
        locked = expires == "1" and shell.endswith("nologin")
        if int(uid) in range(1000, 60000) and not locked:
            usable.add(name)
    assert usable == {"ops"}


@pytest.mark.parametrize("name", ["stranger", "root"])
def test_key_that_is_not_listed_opens_nothing(host, name):
    assert host.file(_KEY).exists
    done = _login(host, name)
    assert done.rc == 1
    assert "Permission denied" in done.stderr or "closed" in done.stderr


def test_no_key_of_a_locked_account_is_left(host):
    assert not host.file("/home/stranger/.ssh/authorized_keys").exists


def test_locked_account_is_refused_although_its_key_is_good(host):
    """It is the account that is locked, not a lost key that keeps the stranger out."""
    keys = "/home/stranger/.ssh/authorized_keys"
    host.check_output("usermod --expiredate '' --shell /bin/bash stranger")
    host.check_output("cp %s.pub %s", _KEY, keys)
    try:
        assert _login(host, "stranger").rc == 0
        host.check_output("usermod --expiredate 1 --shell /usr/sbin/nologin stranger")
        assert _login(host, "stranger").rc == 1
    finally:
        host.check_output("rm %s", keys)
        host.check_output("usermod --expiredate 1 --shell /usr/sbin/nologin stranger")


def test_nobody_but_administrators_becomes_root(host):
    assert host.group("sudo").members == []
    rules = set(host.file("/etc/sudoers.d").listdir()) - {"README"}
    assert all(rule.startswith("holdfast-") for rule in rules), rules
    assert "NOPASSWD: ALL" in host.check_output("sudo -l -U ops")
    assert "not allowed" in host.check_output("sudo -l -U stranger")


def test_no_password_opens_root_or_an_administrator(host):
    for name in ("root", "ops"):
        assert host.check_output("getent shadow %s", name).split(":")[1] == "*"


def test_host_says_whose_clock_it_has(host):
    """In a container the machine's; it must not look as if the host kept its own."""
    clock = json.loads(host.file("/var/lib/holdfast/clock.json").content_string)
    container = host.run("systemd-detect-virt --container --quiet").rc == 0
    assert clock["source"] == ("machine" if container else "systemd-timesyncd")
    assert host.service("systemd-timesyncd").is_running is not container


def test_journal_is_persistent_and_bounded(host):
    """A line written now stands in a file on the disk, and the bound is the one wished for."""
    marker = host.check_output("cat /proc/sys/kernel/random/uuid")
    host.check_output("echo %s | systemd-cat && journalctl --sync", marker)
    assert marker in host.check_output(
        "journalctl --directory=/var/log/journal --output=cat --since=-1min --grep=%s", marker
    )
    bounds = host.check_output(
        "journalctl --output=cat -u systemd-journald --grep='max 64(.0)?M' -n 1"
    )
    assert "System Journal (/var/log/journal/" in bounds


def test_nothing_is_installed_that_was_not_asked_for(host):
    """Recommendations stay out, and so do compilers and services in clear."""
    settings = host.check_output("apt-config dump")
    assert 'APT::Install-Recommends "false";' in settings
    for name in ("gcc", "make", "telnet", "rpcbind", "avahi-daemon"):
        assert not host.package(name).is_installed
    assert host.package("needrestart").is_installed


def test_timers_are_spread(host):
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert (
            host.check_output("systemctl show --value -P RandomizedDelayUSec %s", timer) == "45min"
        )


def test_failure_of_a_unit_reaches_the_webhook_although_the_mail_does_not(host):
    """On the host itself: a real failing unit, a real TLS server, and a relay that is not there."""
    work = "/srv/holdfast-notify-test"
    kept = "/etc/holdfast/notify.json"
    server = (
        "import http.server,ssl,sys\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        body = self.rfile.read(int(self.headers['Content-Length']))\n"
        "        open('got', 'wb').write(body)\n"
        "        self.send_response(204); self.end_headers()\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "context.load_cert_chain('tls.crt', 'tls.key')\n"
        "httpd = http.server.HTTPServer(('127.0.0.1', 8443), Handler)\n"
        "httpd.socket = context.wrap_socket(httpd.socket, server_side=True)\n"
        "httpd.handle_request()\n"
    )
    config = json.loads(host.file(kept).content_string)
    config["ca_file"] = f"{work}/tls.crt"
    config["webhook"]["url"] = "https://localhost:8443/hook"
    config["mail"].update(
        relay="127.0.0.1", port=1, sender="host@holdfast.test", recipients=["ops@holdfast.test"]
    )
    host.check_output(
        f"install -d -m 0755 {work} && cd {work} && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-keyout tls.key -out tls.crt -days 1 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost 2>/dev/null && chmod 0644 tls.crt && cp -p %s kept",
        kept,
    )
    try:
        host.check_output("printf %%s %s >%s", json.dumps(config), kept)
        host.check_output(
            "systemd-run --quiet --unit=test-webhook --working-directory=%s python3 -c %s",
            work,
            server,
        )
        host.check_output("systemctl reset-failed 'holdfast-notify@*' || true")
        since = host.check_output("date +@%s", "%s.%N")
        host.run(
            "systemd-run --quiet --wait --unit=test-fails "
            "-p OnFailure=holdfast-notify@test-fails.service.service false"
        )
        told = ""
        for _ in range(60):
            told = host.check_output(
                "journalctl --sync; journalctl --output=cat --since=%s "
                "-u holdfast-notify@test-fails.service.service",
                since,
            )
            if "mail about" in told:
                break
            time.sleep(0.5)
        got = json.loads(host.file(f"{work}/got").content_string)
        assert got.pop("time").endswith("+00:00")
        assert got == {"host": config["host"], "unit": "test-fails.service", "result": "exit-code"}
        assert "mail about test-fails.service not sent: ConnectionRefusedError" in told
        assert "webhook about test-fails.service sent" in told
    finally:
        host.run(f"cp -p {work}/kept {kept}; rm -rf {work}; systemctl stop test-webhook")
        host.run("systemctl reset-failed")


def test_a_unit_that_fails_all_the_time_leaves_no_other_failed(host):
    """systemd counts the starts of the notifier as long as the unit that names it is there."""
    unit = "/run/systemd/system/test-again.service"
    telling = "holdfast-notify@test-again.service.service"
    try:
        host.check_output(
            "printf '[Unit]\\nOnFailure=holdfast-notify@%%%%n.service\\n[Service]\\n"
            "Type=oneshot\\nExecStart=false\\n' >%s && systemctl daemon-reload",
            unit,
        )
        assert host.run("systemctl start test-again").rc != 0
        for _ in range(8):
            host.check_output("systemctl start %s", telling)
        assert "not told again" in host.check_output(
            "journalctl --sync; journalctl -o cat -u %s", telling
        )
        assert host.run("systemctl is-failed --quiet %s", telling).rc != 0
    finally:
        host.run("rm %s; systemctl daemon-reload; systemctl reset-failed", unit)


def test_notifier_can_do_little(host):
    """It runs under its own name, so that a firewall can let it out, and can change nothing."""
    show = "systemctl show holdfast-notify@x.service -P User -P ProtectSystem -P NoNewPrivileges"
    assert sorted(host.check_output(show).split()) == ["holdfast-notify", "strict", "yes"]
    assert host.file("/etc/holdfast/notify.json").mode == 0o640
    assert host.run("runuser -u ops -- cat /etc/holdfast/notify.json").rc != 0
