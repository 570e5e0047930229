"""Keys only, modern algorithms only, listed accounts from listed addresses only."""

import re
import shlex
import subprocess

import pytest

_POST_QUANTUM = {
    "trixie": [
        "mlkem768x25519-sha256",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
    ],
    "bookworm": ["sntrup761x25519-sha512@openssh.com"],
}
_CLASSICAL = ["curve25519-sha256", "curve25519-sha256@libssh.org"]
_CIPHERS = ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com"]
_MACS = ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"]


@pytest.fixture(scope="module")
def variables(host):
    return host.ansible.get_variables()


@pytest.fixture(scope="module")
def login(variables):
    """Log in from the operator's machine over a connection of its own."""

    own_key = variables["ansible_ssh_private_key_file"]

    def attempt(user, *arguments, command="true", identity=own_key):
        argv = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ControlPath=none"]
        argv += ["-o", "IdentitiesOnly=yes", "-i", str(identity)]
        argv += [*shlex.split(variables["ansible_ssh_common_args"]), "-l", user, *arguments]
        argv += [variables["ansible_host"], command]
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
        )

    return attempt


@pytest.fixture(scope="module")
def stranger(host, variables):
    """An account that is not listed, with the operator's key."""
    user = variables["ansible_user"]
    host.check_output(
        "id stranger || useradd --create-home stranger; "
        f"install -d -m 700 -o stranger /home/stranger/.ssh /root/.ssh; "
        f"install -o stranger -m 600 /home/{user}/.ssh/authorized_keys /home/stranger/.ssh/; "
        f"cp -n /home/{user}/.ssh/authorized_keys /root/.ssh/authorized_keys"
    )
    yield "stranger"
    host.check_output("userdel --remove stranger; rm -f /root/.ssh/authorized_keys")


def _offered(host):
    """What the server proposes, read by a client on the host itself."""
    said = host.run(
        "ssh -F none -vv -o BatchMode=yes -o StrictHostKeyChecking=no"
        " -o UserKnownHostsFile=/dev/null 127.0.0.1 true || true"
    ).stderr
    proposal = said.partition("peer server KEXINIT proposal")[2]
    names = {"KEX algorithms": "kex", "host key algorithms": "keys", "ciphers stoc": "ciphers",
             "MACs stoc": "macs", "compression stoc": "compression"}  # fmt: skip
    return {
        short: re.search(rf"debug2: {long}: (\S+)", proposal)[1].split(",")
        for long, short in names.items()
    }


def test_the_server_offers_exactly_the_modern_algorithms(host):
    """Hybrid key exchanges come first, where the release has them."""
    offered = _offered(host)
    # These two are no algorithms: they announce extensions of the protocol.
    kex = [name for name in offered["kex"] if not name.startswith(("ext-info-", "kex-strict-"))]
    assert kex == _POST_QUANTUM[host.system_info.codename] + _CLASSICAL
    assert "kex-strict-s-v00@openssh.com" in offered["kex"]
    assert offered["ciphers"] == _CIPHERS
    assert offered["macs"] == _MACS
    assert offered["keys"] == ["ssh-ed25519"]
    assert offered["compression"] == ["none"]


@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "KexAlgorithms=ecdh-sha2-nistp256",
        "Ciphers=aes256-ctr",
        "HostKeyAlgorithms=rsa-sha2-512",
    ],
)
def test_a_client_that_insists_on_an_older_algorithm_gets_nothing(login, variables, option):
    done = login(variables["ansible_user"], "-o", option)
    assert done.returncode == 255
    assert "no matching" in done.stderr


def test_the_listed_account_gets_in_with_its_key(login, variables):
    assert login(variables["ansible_user"], command="sudo -n true").returncode == 0


@pytest.fixture
def listed_key(request, host, variables, tmp_path):
    """A key of some kind that stands in the account's list."""
    kind, _, bits = request.param.partition("-")
    key = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", kind, *(["-b", bits] if bits else []), "-N", "", "-f", key]
    subprocess.run(argv, check=True)
    keys = f"/home/{variables['ansible_user']}/.ssh/authorized_keys"
    host.check_output("cp -a %s /run/keys.saved", keys)
    host.check_output("echo %s >> %s", key.with_suffix(".pub").read_text().strip(), keys)
    yield key
    host.check_output("cat /run/keys.saved > %s; rm /run/keys.saved", keys)


@pytest.mark.parametrize(
    ("listed_key", "status"),
    [("ed25519", 0), ("ecdsa-256", 0), ("ecdsa-384", 0), ("ecdsa-521", 0), ("rsa-4096", 255)],
    indirect=["listed_key"],
)
def test_the_kinds_of_keys_that_base_accepts_open_the_door(login, variables, listed_key, status):
    """Whoever could be given an account must be able to use it, and no other kind counts."""
    done = login(variables["ansible_user"], identity=listed_key)
    assert done.returncode == status
    assert ("Permission denied (publickey)" in done.stderr) is (status == 255)


def test_other_accounts_do_not_although_their_key_is_right(login, stranger):
    for user in (stranger, "root"):
        done = login(user)
        assert done.returncode == 255
        assert "Permission denied (publickey)" in done.stderr


def test_the_listed_account_does_not_get_in_from_elsewhere(host, variables):
    """The host itself is not an operator's address."""
    user = variables["ansible_user"]
    key = "/run/test-key"
    host.check_output(f"rm -f {key}*; ssh-keygen -q -t ed25519 -N '' -f {key}")
    keys = f"/home/{user}/.ssh/authorized_keys"
    host.check_output(f"cp -a {keys} {key}.saved; cat {key}.pub >> {keys}")
    try:
        done = host.run(
            f"ssh -F none -i {key} -o BatchMode=yes -o StrictHostKeyChecking=no"
            f" -o UserKnownHostsFile=/dev/null {user}@127.0.0.1 true || echo refused"
        )
    finally:
        host.check_output(f"cat {key}.saved > {keys}")
    assert done.stdout == "refused\n"
    assert "Permission denied (publickey)" in done.stderr


def test_keys_are_the_only_way_to_prove_who_one_is(login, variables):
    done = login(variables["ansible_user"], "-v", "-o", "PubkeyAuthentication=no")
    assert "Authentications that can continue: publickey\n" in done.stderr.replace("\r", "")


def test_nothing_is_forwarded(login, variables):
    done = login(variables["ansible_user"], "-W", "127.0.0.1:22")
    assert "administratively prohibited" in done.stderr


def test_what_others_drop_into_the_folder_has_no_effect(host):
    """Packages and people put files into sshd_config.d; sshd does not read them."""
    before = host.check_output("sshd -T")
    drop_in = "/etc/ssh/sshd_config.d/zz-test.conf"
    host.check_output(f"echo 'PermitRootLogin yes' > {drop_in}")
    try:
        assert host.check_output("sshd -T") == before
    finally:
        host.check_output(f"rm {drop_in}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("permitrootlogin", "no"),
        ("authenticationmethods", "publickey"),
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("hostbasedauthentication", "no"),
        ("gssapiauthentication", "no"),
        ("permitemptypasswords", "no"),
        ("permituserenvironment", "no"),
        ("permituserrc", "no"),
        ("disableforwarding", "yes"),
        ("maxauthtries", "3"),
        ("logingracetime", "20"),
        ("strictmodes", "yes"),
        ("usedns", "no"),
    ],
)
def test_the_effective_setting(host, key, value):
    assert f"\n{key} {value}\n" in host.check_output("sshd -T") + "\n"


def test_failing_addresses_are_made_to_wait(host):
    """OpenSSH of bookworm cannot."""
    settings = host.check_output("sshd -T")
    if host.system_info.codename == "bookworm":
        assert "persourcepenalties" not in settings
    else:
        assert re.search(r"^persourcepenalties crash:90 authfail:5 noauth:1 ", settings, re.M)


def test_there_is_one_host_key(host):
    keys = host.check_output("ls /etc/ssh").split()
    assert {key for key in keys if key.startswith("ssh_host_")} == {
        "ssh_host_ed25519_key",
        "ssh_host_ed25519_key.pub",
    }


def test_no_other_sshd_listens_on_a_local_socket(host):
    """Neither now nor after the generators of systemd have run again."""
    host.check_output("systemctl daemon-reload")
    units = host.check_output("systemctl list-units --all --plain --no-legend 'sshd-*.socket'")
    assert " active " not in units
    assert "ssh" not in host.check_output("ss --listening --unix --no-header")
