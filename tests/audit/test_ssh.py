"""H1: the operators' way in."""

import ipaddress
import re

import pytest

# What sshd answers to `sshd -T`, for root, a stranger and the operator, wherever they come from.
_EFFECTIVE = {
    "permitrootlogin": "no",
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "hostbasedauthentication": "no",
    "permitemptypasswords": "no",
    "pubkeyauthentication": "yes",
    "authenticationmethods": "publickey",
    "allowtcpforwarding": "no",
    "x11forwarding": "no",
    "allowagentforwarding": "no",
    "permittunnel": "no",
    "permituserenvironment": "no",
    "permituserrc": "no",
    "allowstreamlocalforwarding": "no",
    "gssapiauthentication": "no",
    "kerberosauthentication": "no",
    # No keys but those of the file that H4 reads, and nobody's word instead of a key.
    "authorizedkeysfile": ".ssh/authorized_keys",
    "authorizedkeyscommand": "none",
    "authorizedprincipalsfile": "none",
    "authorizedprincipalscommand": "none",
    "trustedusercakeys": "none",
    "strictmodes": "yes",
}
_STRONG = {
    "kex_algorithms": {
        "mlkem768x25519-sha256",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        # Not key exchanges but protocol extensions announced in the same list.
        "ext-info-s",
        "kex-strict-s-v00@openssh.com",
    },
    "server_host_key_algorithms": {"ssh-ed25519"},
    "encryption_algorithms": {
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes128-gcm@openssh.com",
    },
    "mac_algorithms": {"hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"},
    "compression_algorithms": {"none"},
}


_STRANGER = "192.0.2.1"  # RFC 5737


@pytest.fixture
def networks(target, inventory):
    """The networks that operators log in from."""
    return target.variables.get(
        "ssh_addresses", inventory.variable("installation_operator_addresses", [])
    )


def _somebody(network):
    """Return an address of a network."""
    parsed = ipaddress.ip_network(network)
    return str(parsed[min(1, parsed.num_addresses - 1)])


def _effective(host, user, address=_STRANGER):
    said = host.check_output("sshd -T -C user=%s,host=x,addr=%s", user, address)
    values = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append(value)
    return values


@pytest.mark.control("H1", kind="effective")
def test_sshd_takes_keys_only(target, host, networks):
    """sshd's own account of its configuration: keys only, no root, nothing forwarded"""
    problems = [
        f"{key} is {values.get(key)} for {user} from {address}, not {expected}"
        for user in ("root", "nobody", target.user)
        for address in (_STRANGER, *map(_somebody, networks))
        for values in (_effective(host, user, address),)
        for key, expected in _EFFECTIVE.items()
        if values.get(key) != [expected]
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.control("H1", kind="effective")
def test_listed_users_from_listed_networks_only(target, host, networks):
    """The accounts and networks that may log in are exactly those of the inventory"""
    users = target.variables.get("ssh_users", [target.user])
    expected = {f"{user}@{network}" for user in users for network in networks}
    allowed = {
        word
        for line in _effective(host, target.user).get("allowusers", [])
        for word in line.split()
    }
    assert allowed == expected, (
        f"allowed beyond the inventory: {sorted(allowed - expected)}; "
        f"missing: {sorted(expected - allowed)}"
    )


@pytest.mark.control("H1", kind="effective")
def test_nobody_is_excepted(host):
    """The configuration has no block that holds for some people or places only"""
    said = host.run(
        "grep -nEi '^[[:space:]]*\"?(match|include)[\"[:space:]=]' /etc/ssh/sshd_config"
    )
    assert said.rc in {0, 1}, said.stderr
    assert not said.stdout, f"/etc/ssh/sshd_config: {said.stdout.strip()}"


@pytest.fixture(scope="session")
def knock(auditor, ssh_config):
    """Try a fresh ssh login, without the shared connection: knock(target, user, options)."""

    def attempt(target, user, options=""):
        return auditor.run(
            f"ssh -F %s -o ControlPath=none -o LogLevel=INFO {options} -l %s %s true",
            ssh_config,
            user,
            target.name,
        )

    return attempt


@pytest.fixture(scope="session")
def refusals(each, knock, installation_hosts):
    """What strangers hear: by host, by kind of stranger, the answer."""
    keyless = "-o PreferredAuthentications=none"

    def work(_, name):
        target = installation_hosts[name]
        return {
            "root without a key": knock(target, "root", keyless),
            "nobody without a key": knock(target, "nobody", keyless),
            "an operator without a key": knock(target, target.user, keyless),
            "root with an operator's key": knock(target, "root"),
        }

    return each(installation_hosts, work)


@pytest.mark.control("H1", kind="behavioural")
def test_no_password_is_asked_for(target, refusals):
    """Whoever knocks without a key is told that only keys are taken"""
    problems = []
    for stranger, said in refusals[target.name].items():
        methods = re.search(r"Permission denied \(([^)]*)\)", said.stderr)
        if "without a key" in stranger and (not methods or methods[1] != "publickey"):
            problems.append(f"{stranger}: {methods[1] if methods else said.stderr.strip()[-300:]}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("H1", kind="behavioural")
def test_root_does_not_get_in(target, refusals):
    """The key that opens the operator's account does not open root's"""
    said = refusals[target.name]["root with an operator's key"]
    assert said.rc != 0, "root logged in"
    assert "Permission denied" in said.stderr, f"no refusal: {said.stderr.strip()[-300:]}"


@pytest.mark.control("H1", kind="behavioural")
def test_weak_algorithms_are_not_offered(target, auditor, probes):
    """sshd's own list of algorithms, in its first packet, holds strong ones only"""
    answer = probes.run(auditor, "kexinit", address=target.address, port=target.port)
    problems = [
        f"{kind}: {', '.join(sorted(set(answer[kind]) - strong))}"
        for kind, strong in _STRONG.items()
        if set(answer[kind]) - strong
    ]
    assert answer["kex_algorithms"], "sshd offered no key exchange at all"
    assert not problems, "\n".join(problems)
