"""What the role does not do: go on with wrong input, or leave open what must be denied."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[5]
_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
_ENV = {**os.environ, "ANSIBLE_FORCE_COLOR": "false"}  # molecule wants colour; we read the text

_GOOD = {"name": "api", "errors": "json"}
_HOP = "https://10.0.0.9:8443"


def _located(**location):
    return {"web_sites": [{**_GOOD, "locations": [{"path": "/x", **location}]}]}


def _certified(**certificate):
    one = {"service": "web", "names": ["api.web.test"], "unit": "nginx.service", **certificate}
    return {"certificates_servers": [one], "certificates_ca_folder": "/nonexistent"}


# Wrong input, and what the message must name.
WRONG = {
    "other_release": ({"__release": "bullseye"}, "Debian bookworm and trixie, not"),
    "two_of_a_name": ({"web_sites": [_GOOD, _GOOD]}, "each once"),
    "odd_name": ({"web_sites": [{**_GOOD, "name": "a;b"}]}, "small letters and digits"),
    "open_admin": ({"web_sites": [{**_GOOD, "name": "admin"}]}, "the site admin has `allow`"),
    "unknown_denied": ({"web_denied": [{"site": "none", "path": "/"}]}, "web_denied name sites"),
    "no_kind": (_located(), "exactly one of"),
    "two_kinds": (_located(status=404, redirect="/y"), "exactly one of"),
    "odd_path": (_located(path="/x; return 200 y", status=404), "plain characters"),
    "our_path": (_located(path="/.holdfast/error", status=404), "plain characters"),
    "odd_status": (_located(status=200), "exactly one of"),
    "odd_redirect": (_located(redirect="https://x/$uri"), "exactly one of"),
    "odd_type": (_located(text={"body": "", "type": 'x"; y'}), "plain media type"),
    "unsafe_inline": (
        _located(status=404, csp={"script-src": ["'unsafe-inline'"]}),
        "no 'unsafe-…'",
    ),
    "wildcard": (_located(status=404, csp={"img-src": ["https:"]}), "no wildcard"),
    "default_src": (
        _located(status=404, csp={"default-src": ["'self'"]}),
        "other than default-src",
    ),
    "csp_string": (_located(status=404, csp={"style-src": "'self'"}), "needs a list of sources"),
    "admin_for_everybody": ({"web_admin_addresses": ["0.0.0.0/0"]}, "lists everybody (0.0.0.0/0)"),
    "admin_for_everybody_6": ({"web_admin_addresses": ["::/0"]}, "lists everybody (::/0)"),
    "site_for_everybody": (
        {"web_sites": [{**_GOOD, "name": "admin", "allow": ["::/0"]}]},
        "lists everybody (::/0)",
    ),
    "old_tls_elsewhere": (
        {"addresses": ["10.0.0.1", "10.0.0.2"], "web_legacy_tls_address": "10.0.0.3"},
        "must be one of the host's `addresses`",
    ),
    "old_tls_on_the_only_address": (
        {"addresses": ["10.0.0.1", "fd00::1", "fd00::2"], "web_legacy_tls_address": "10.0.0.1"},
        "leave another IPv4 address",
    ),
    "old_tls_on_the_only_address_6": (
        {"addresses": ["10.0.0.1", "10.0.0.2", "fd00::1"], "web_legacy_tls_address": "fd00::1"},
        "leave another IPv6 address",
    ),
    "clear_hop": (_located(proxy={"url": "http://10.0.0.9:80"}), "needs an https URL"),
    "unverified_hop": (_located(proxy={"url": _HOP}), "needs an https URL"),
    "hop_with_path": (
        _located(proxy={"url": _HOP + "/x", "ca": "/ca", "server_name": "app"}),
        "needs an https URL",
    ),
    "no_authority": (_certified(), "There is no certification authority in /nonexistent"),
    "no_name": (_certified(names=[]), "at least one DNS name"),
    "no_unit": (_certified(unit="nginx"), "a unit that ends in .service"),
    "too_long": ({"certificates_days": 91}, "which is 90 at most"),
}
RIGHT = {
    "old_tls": {"addresses": ["10.0.0.1", "10.0.0.2"], "web_legacy_tls_address": "10.0.0.2"},
    "plain": {},
    "hop": _located(proxy={"url": _HOP, "ca": "/ca", "server_name": "app.web.test"}),
    "socket": _located(proxy={"url": "http://unix:/run/x.sock"}, csp={"img-src": ["data:"]}),
}


@pytest.fixture(scope="module")
def wishes(tmp_path_factory):
    """What is said of the wishes of one pretended host per case."""
    folder = tmp_path_factory.mktemp("wishes")
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "__release": "trixie",
        "installation_operator_addresses": [],
        "web_domain": "web.test",
        "web_legacy_tls_sites": [],
        "web_sites": [_GOOD],
    }
    cases = {name: values for name, (values, _) in WRONG.items()} | RIGHT
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": cases, "vars": common}}))
    roles = [
        {"ansible.builtin.import_role": {"name": name}, "when": False}
        for name in ("certificates", "web")
    ]
    play = {
        "hosts": "all",
        "gather_facts": False,
        "become": False,
        "tasks": [
            {"set_fact": {"ansible_facts": {"distribution_release": "{{ __release }}"}}},
            {"check_inventory": None},
            *roles,
        ],
    }
    playbook = folder / "play.json"
    playbook.write_text(json.dumps([play]))
    done = subprocess.run(
        [_PLAYBOOK, "-i", inventory, playbook],
        cwd=_REPOSITORY,
        env={**_ENV, "ANSIBLE_ANY_ERRORS_FATAL": "false", "ANSIBLE_STRATEGY": "linear"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_with_the_fix(wishes, case):
    failures = re.findall(rf"^(?:fatal|failed): \[{case}\].*", wishes, re.MULTILINE)
    assert failures, wishes[-3000:]
    assert WRONG[case][1] in failures[0].replace("\\n", " ").replace("\\u2026", "…")


@pytest.mark.parametrize("case", RIGHT)
def test_right_input_passes(wishes, case):
    assert re.search(rf"^{case} .* failed=0 ", wishes, re.MULTILINE), wishes[-3000:]


def test_own_certificates_need_no_authority(tmp_path):
    """With nothing to make, role certificates looks for nothing and touches nothing."""
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "become": False,
        "tasks": [{"include_role": {"name": "certificates"}}],
    }
    playbook = tmp_path / "play.json"
    playbook.write_text(json.dumps([play]))
    done = subprocess.run(
        [_PLAYBOOK, "-i", "localhost,", "-c", "local", playbook],
        cwd=_REPOSITORY,
        env={**_ENV, "ANSIBLE_STRATEGY": "linear"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "changed=0 " in done.stdout


@pytest.fixture(scope="module")
def converge():
    """Run the scenario's play with other variables."""

    def run(host, **variables):
        done = subprocess.run(
            [
                _PLAYBOOK,
                *("-i", host.backend.ansible_inventory),
                *("--limit", host.backend.get_hostname(), "--extra-vars", json.dumps(variables)),
                str(Path(__file__).parents[1] / "converge.yml"),
            ],
            cwd=_REPOSITORY,
            env=_ENV,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    return run


@pytest.fixture(scope="module")
def wrongly(converge):
    """A run with a URL that must be denied, and is not."""

    def run(host):
        denied = [{"site": "api", "path": "/document"}]
        said = converge(host, web_denied=denied, web_rate=999, certificates_servers=[])
        expected = "https://api.web.test/document answered 200 instead of 401, 403, 404"
        assert expected in said, said
        return said

    return run


def test_without_a_certificate_nothing_is_changed(host, converge):
    before = host.check_output("sha256sum /etc/nginx/nginx.conf")
    said = converge(host, web_tls_key="/nonexistent/key")
    assert "/nonexistent/key must exist before role web runs." in said
    assert " changed=0 " in said
    assert host.check_output("sha256sum /etc/nginx/nginx.conf") == before


def test_what_a_killed_run_left_unread_is_read_by_the_next(host, converge):
    """It was killed after it had written the configuration, and before nginx read it."""
    host.check_output("sed -i s/rate=200r/rate=199r/ /etc/nginx/nginx.conf")
    host.check_output("systemctl reload nginx")
    host.check_output("sed -i s/rate=199r/rate=200r/ /etc/nginx/nginx.conf")
    assert host.check_output("/usr/local/lib/holdfast/nginx-generation pending") == "reload"
    assert " changed=1 " in converge(host)
    assert host.check_output("/usr/local/lib/holdfast/nginx-generation pending") == ""


def test_a_seal_that_does_not_open_ends_in_a_new_certificate(host, converge, openssl):
    """It is sealed, unsealed, and what nginx shows."""
    before = host.check_output("cat /run/holdfast/web/tls.crt")
    host.check_output("echo damaged > /etc/credstore.encrypted/holdfast-tls-web")
    said = converge(host)
    assert " failed=0 " in said, said
    host.check_output("systemctl restart holdfast-tls-web")
    after = host.check_output("cat /run/holdfast/web/tls.crt")
    assert after != before
    assert after in openssl("-tls1_3")
    assert host.file("/etc/credstore.encrypted/holdfast-tls-web").mode == 0o600


def test_a_key_of_another_certificate_ends_in_a_new_certificate(host, converge):
    """nginx would notice only at its next reload."""
    host.check_output(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
        " -out /run/holdfast/web/tls.key"
    )
    assert host.run("nginx -t").rc != 0
    said = converge(host)
    assert " failed=0 " in said, said
    assert host.run("nginx -t").rc == 0


def test_what_a_killed_run_left_is_removed(host, converge):
    """It was killed while it made a key, and while it installed a package."""
    left = ("/run/holdfast/.new-web", "/usr/sbin/policy-rc.d")
    host.check_output("touch %s %s", *left)
    assert " changed=2 " in converge(host)
    assert not [path for path in left if host.file(path).exists]


def test_a_certificate_unsealed_again_is_read_in_the_same_run(host, converge):
    host.check_output("systemctl stop holdfast-tls-web")
    assert " failed=0 " in converge(host)
    assert " changed=0 " in converge(host)


def test_an_unproven_configuration_of_a_killed_run_does_not_come_back(host, wrongly):
    """A run was killed when its configuration was in effect and not yet tried."""
    proven = host.check_output("sha256sum < /etc/nginx/nginx.conf")
    assert host.check_output("sha256sum < /var/lib/holdfast/web/proven.conf") == proven
    assert host.file("/var/lib/holdfast/web/proven.conf").mode == 0o600
    host.check_output(
        "sed -i s/rate=200r/rate=999r/ /etc/nginx/nginx.conf && systemctl reload nginx"
    )
    said = wrongly(host)
    assert "The configuration that was proven last is in place" in said
    assert host.check_output("sha256sum < /etc/nginx/nginx.conf") == proven
    assert host.check_output("/usr/local/lib/holdfast/nginx-generation pending") == ""


def test_without_a_proven_configuration_nothing_is_served(host, wrongly):
    """A document of the configuration before is still there, too."""
    host.check_output("mv /var/lib/holdfast/web/proven.conf /run/proven.test")
    host.check_output("touch /srv/holdfast/web/%s", "0" * 64)
    try:
        assert "nginx is stopped, because no configuration has been proven" in wrongly(host)
        assert not host.service("nginx").is_running
        assert not host.file("/var/lib/holdfast/web/proven.conf").exists
        assert host.file("/srv/holdfast/web/" + "0" * 64).exists
    finally:
        host.check_output("rm /srv/holdfast/web/%s", "0" * 64)
        host.check_output("mv /run/proven.test /var/lib/holdfast/web/proven.conf")
        host.check_output("cp /var/lib/holdfast/web/proven.conf /etc/nginx/nginx.conf")
        host.check_output("chmod 644 /etc/nginx/nginx.conf ")
        host.check_output("systemctl enable --now nginx")
