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


# Wrong input, and what the message must name.
WRONG = {
    "other_release": ({"release": "bullseye"}, "Debian bookworm and trixie, not"),
    "no_certificate": ({"web_tls_key": "/nonexistent/key"}, "must exist before role web runs"),
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
}
RIGHT = {
    "old_tls": {"addresses": ["10.0.0.1", "10.0.0.2"], "web_legacy_tls_address": "10.0.0.2"},
    "plain": {},
    "hop": _located(proxy={"url": _HOP, "ca": "/ca", "server_name": "app.web.test"}),
    "socket": _located(proxy={"url": "http://unix:/run/x.sock"}, csp={"img-src": ["data:"]}),
}


@pytest.fixture(scope="module")
def preflight(tmp_path_factory):
    """The output of the role's preflight on one pretended host per case."""
    folder = tmp_path_factory.mktemp("preflight")
    present = str(Path(__file__))
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "release": "trixie",
        "installation_operator_addresses": [],
        "web_domain": "web.test",
        "web_tls_certificate": present,
        "web_tls_key": present,
        "web_legacy_tls_sites": [],
        "web_sites": [_GOOD],
    }
    cases = {name: values for name, (values, _) in WRONG.items()} | RIGHT
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": cases, "vars": common}}))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "become": False,
        "tasks": [
            {"set_fact": {"ansible_facts": {"distribution_release": "{{ release }}"}}},
            {"include_role": {"name": "web", "tasks_from": "preflight"}},
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
def test_wrong_input_is_refused_with_the_fix(preflight, case):
    failures = re.findall(rf"^(?:fatal|failed): \[{case}\].*", preflight, re.MULTILINE)
    assert failures, preflight[-3000:]
    assert WRONG[case][1] in failures[0].replace("\\n", " ").replace("\\u2026", "…")


@pytest.mark.parametrize("case", RIGHT)
def test_right_input_passes(preflight, case):
    assert re.search(rf"^{case} .* failed=0 ", preflight, re.MULTILINE), preflight[-3000:]


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
def wrongly():
    """A run of the scenario's play with a URL that must be denied, and is not."""

    def run(host):
        wrong = {
            "web_denied": [{"site": "api", "path": "/document"}],
            "web_rate": 999,
            "certificates_servers": [],
        }
        done = subprocess.run(
            [
                _PLAYBOOK,
                *("-i", os.environ["MOLECULE_INVENTORY_FILE"]),
                *("--limit", host.backend.get_hostname(), "--extra-vars", json.dumps(wrong)),
                str(Path(__file__).parents[1] / "converge.yml"),
            ],
            cwd=_REPOSITORY,
            env=_ENV,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        expected = "https://api.web.test/document answered 200 instead of 401, 403, 404"
        assert expected in done.stdout, done.stdout
        return done.stdout

    return run


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
