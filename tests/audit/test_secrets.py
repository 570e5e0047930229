"""R5: secrets stand in memory, sealed where a reboot must not need anybody, and nowhere else."""

import re

import pytest

_MEMORY = ("/run/holdfast", "/run/holdfast-agent")
_SEALED = "/etc/credstore.encrypted"
_IDENTITY = "holdfast-vault-identity"
# The key that systemd-creds seals with, where a host has no TPM.
_SEALING_KEY = "/var/lib/systemd/credential.secret"


@pytest.fixture(scope="session")
def searched(each, probes, installation_hosts):
    """What a search of each host for its own secrets found: by host."""
    return each(
        installation_hosts,
        lambda view, _: probes.run(view, "secrets", memory=_MEMORY, sealed=_SEALED),
    )


@pytest.fixture
def agents(target):
    """The services of the host that have something from Vault."""
    listed = target.variables.get("vault_agent_services") or ()
    return {one["service"] for one in listed if one["on"] in target.groups}


@pytest.fixture
def certified(target):
    """The services of the host whose certificates the operators sign."""
    return {one["service"] for one in target.variables.get("certificates_servers") or ()}


@pytest.fixture
def sealed(agents, certified):
    """What may stand sealed on the host: so that it comes back from a reboot by itself."""
    return {f"holdfast-tls-{service}" for service in certified} | ({_IDENTITY} if agents else set())


@pytest.fixture
def host_keys(host):
    """The private keys that sshd proves the host by."""
    said = host.check_output("sshd -T")
    return set(re.findall(r"^hostkey (\S+)$", said, re.MULTILINE))


@pytest.mark.control("R5", kind="effective")
def test_no_secret_is_where_it_stays_or_is_seen(target, searched, host_keys):
    """Neither files that outlive a reboot nor arguments, environments or the journal hold one"""
    found = searched[target.name]
    if found["blind"] or not found["files"]:
        message = f"the search does not see {', '.join(found['blind']) or 'any file'}"
        raise RuntimeError(message)
    problems = [
        f"{what} stands in {where}"
        for where, what in found["found"]
        if not (where in host_keys and what == "a private key")
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.control("R5", kind="effective")
def test_what_is_on_the_disk_is_the_named_exception(target, host, searched, sealed, host_keys):
    """Sealed are the host's identity at Vault and what operators sign; sshd's keys are root's"""
    stored = set(searched[target.name]["stored"])
    problems = [f"{_SEALED}/{name} was not named" for name in sorted(stored - sealed)]
    problems += [f"{_SEALED}/{name} is missing" for name in sorted(sealed - stored)]
    kept = {*host_keys, *(f"{_SEALED}/{name}" for name in stored)}
    kept |= {_SEALING_KEY} if stored and host.file(_SEALING_KEY).exists else set()
    for path in sorted(kept):
        owner, mode = host.check_output("stat -c '%%U:%%G %%a' %s", path).split()
        if owner != "root:root" or int(mode, 8) & 0o077:
            problems.append(f"{path} is {owner} {mode}, not root's alone")
    assert not problems, "\n".join(problems)


@pytest.mark.control("R5", kind="effective")
def test_material_is_in_memory_for_its_service_only(host, agents, certified):
    """Each service's folder is in memory, for it alone, and there is no folder without a service"""
    names = agents | certified
    said = host.run("find %s -mindepth 1 -printf '%%y %%#m %%U %%P\\n'", _MEMORY[0]).stdout
    problems = []
    seen = set()
    for kind, mode, _, path in (line.split(" ", 3) for line in said.splitlines()):
        service = path.partition("/")[0]
        seen.add(service)
        if service not in names:
            problems.append(f"{path} belongs to no service of the inventory")
        if kind != "l" and int(mode, 8) & (0o007 if kind == "d" or "/" in path else 0o077):
            problems.append(f"{path} is for everybody ({mode})")
    problems += [f"{service} has nothing" for service in sorted(names - seen)]
    if seen:
        kind = host.check_output("stat --file-system -c %%T %s", _MEMORY[0])
        if kind != "tmpfs":
            problems.append(f"{_MEMORY[0]} is on {kind}, not in memory")
    assert not problems, "\n".join(problems)
