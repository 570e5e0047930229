"""H9: Vault is open, healthy, watched, and holds what the inventory asks for and no more."""

import pytest
from jinja2.sandbox import SandboxedEnvironment

from holdfast import paths
from holdfast.audit.outcomes import NotEvaluated
from holdfast.errors import Error
from holdfast.installation import Installation
from holdfast.vault import databases, desired, setup
from holdfast.vault.at_hand import log_in_if_needed
from holdfast.vault.client import Vault
from holdfast.vault.facts import database_servers, vault_services
from holdfast.vault.login import deployer, operators_ca

_OWN_POLICIES = {"default", "root", setup.POLICY}
_LOGINS = {"token/", f"{setup.LOGIN}/", "approle/"}
_MOUNTS = {"cubbyhole/", "identity/", "sys/", "agent-registry/", f"{desired.SERVERS}/", "database/"}
_PROTOCOLS = "TLSv1.2", "TLSv1.3"


@pytest.fixture(scope="session")
def nodes(inventory):
    """The addresses of Vault's hosts, by name."""
    return {host.name: host.addresses[0] for host in inventory.group("vault")}


@pytest.fixture(scope="session")
def installation(inventory):
    """Where the operator keeps what belongs to this installation."""
    return Installation(inventory.variable("installation_name"))


@pytest.fixture(scope="session")
def vault(installation, nodes):
    """Vault, with the login of the operator who audits."""
    if not nodes:
        raise NotEvaluated("no host is in the group vault")
    try:
        log_in_if_needed(installation, nodes)
        return deployer(installation, nodes)
    except Error as error:  # nobody is logged in, or it is sealed, which another check judges
        raise NotEvaluated(str(error)) from error


@pytest.fixture(scope="session")
def asked_for(inventory):
    """What Vault is to hold: of the services, and of the databases."""
    hosts = {host.name: _rendered(host) for host in inventory.group("installation")}
    leases = paths.repository() / "roles/postgresql/files/leases"
    return (
        desired.desired(vault_services(hosts, list(hosts))),
        databases.desired(
            database_servers({"hostvars": hosts, "groups": inventory.groups}),
            databases.Statements.read(leases),
        ),
    )


def _rendered(host):
    """The host's variables that matter here, with what Ansible would put into them."""
    known = {
        **host.variables,
        "inventory_hostname": host.name,
        "group_names": sorted(host.groups),
        "addresses": host.addresses,
    }
    render = SandboxedEnvironment(autoescape=False).from_string

    def each(value):
        if isinstance(value, dict):
            return {key: each(one) for key, one in value.items()}
        if isinstance(value, list):
            return [each(one) for one in value]
        return render(value).render(known) if isinstance(value, str) else value

    listed = ("vault_agent_services", "postgresql_databases", "installation_domain")
    return {**known, **{name: each(known[name]) for name in listed if name in known}}


@pytest.mark.control("H9", kind="effective", on="vault")
def test_it_is_open_and_votes(target, installation, nodes, inventory, request):
    """The node is not sealed, and a healthy voter; no node votes that is not in the inventory"""
    node = Vault(nodes[target.name], ca=operators_ca(installation), name=target.name)
    found = node.seal_status()
    people = ", ".join(one["name"] for one in inventory.variable("vault_operators", []))
    assert found.initialised, "not initialised: the operators run `holdfast vault init`"
    assert not found.sealed, f"sealed: {found.threshold} of {people} run `holdfast vault unseal`"
    vault = request.getfixturevalue("vault")
    listed = (vault.read("sys/storage/raft/autopilot/state") or {}).get("servers", {}).values()
    members = {one["name"]: one for one in listed}
    own = members.get(target.name, {"healthy": False, "status": "no member"})
    problems = [f"{name} is a member, and no host" for name in sorted(set(members) - set(nodes))]
    if not own["healthy"] or own["status"] not in {"leader", "voter"}:
        problems.append(f"{own['status']}, {'healthy' if own['healthy'] else 'not healthy'}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("H9", kind="behavioural")
def test_every_request_is_written_down(vault, each, nodes):
    """There is one audit device, a file, and a request of this moment stands in it"""
    devices = vault.read("sys/audit") or {}
    found = {name: device["options"].get("file_path") for name, device in devices.items()}
    assert found == {"file/": setup.AUDIT_FILE}, f"audit devices: {found}"

    def lines(view, _):
        return view.run("cat %s", setup.AUDIT_FILE).stdout.count('"path":"sys/audit"')

    before = sum(each(nodes, lines).values())
    vault.read("sys/audit")
    after = sum(each(nodes, lines).values())
    assert after > before, f"a request was answered, and {setup.AUDIT_FILE} did not grow by it"


@pytest.mark.control("H9", kind="effective")
def test_nobody_is_root(vault):
    """No token is root's, and none lasts for ever"""
    problems = []
    for accessor in vault.list("auth/token/accessors"):
        found = vault.write("auth/token/lookup-accessor", {"accessor": accessor})
        if "root" in found["policies"]:
            problems.append(f"a token of root exists, made by {found['path']}")
        elif not found["ttl"]:
            problems.append(f"a token of {found['display_name']} never ends")
    assert not problems, "\n".join(problems)


@pytest.mark.control("H9", kind="effective")
def test_it_holds_what_the_inventory_asks_for(vault, asked_for):
    """Policies, identities, roles, logins and mounts are those of the inventory, exactly"""
    problems = [
        f"{path} {'should not be there' if data is None else 'is not as it should be'}"
        for wanted in asked_for
        for path, data in desired.differences(vault, wanted)
    ]
    policies = {one for one in vault.list("sys/policies/acl") if not one.startswith(desired.PREFIX)}
    problems += [f"a policy that nobody listed: {one}" for one in sorted(policies - _OWN_POLICIES)]
    if (vault.read(f"sys/policies/acl/{setup.POLICY}") or {}).get("policy") != setup.policy():
        problems.append(
            f"the policy {setup.POLICY} is another one: `holdfast vault rotate-root --for set-up`"
        )
    for what, path, wanted in (("login", "sys/auth", _LOGINS), ("mount", "sys/mounts", _MOUNTS)):
        found = {name for name in vault.read(path) or {} if name.endswith("/")}
        problems += [f"a {what} that nobody listed: {one}" for one in sorted(found - wanted)]
    assert not problems, "\n".join(problems)


@pytest.mark.control("H9", kind="behavioural", on="vault")
def test_it_speaks_tls_only(host):
    """Clear HTTP gets nothing but a refusal, and versions of TLS before 1.2 an alert"""
    clear = host.run("curl --silent --max-time 10 http://127.0.0.1:8200/v1/sys/seal-status").stdout
    assert "initialized" not in clear, "it answers clear HTTP"
    spoken = set()
    for flag in ("tls1", "tls1_1", "tls1_2", "tls1_3"):
        said = host.run(
            f"openssl s_client -connect 127.0.0.1:8200 -{flag} -cipher ALL:@SECLEVEL=0 </dev/null"
        ).stdout
        spoken |= {
            one for one in ("TLSv1", "TLSv1.1", *_PROTOCOLS) if f"New, {one}, Cipher" in said
        }
    assert spoken, "nothing speaks TLS at port 8200"
    assert spoken <= set(_PROTOCOLS), f"it speaks {sorted(spoken)}"
