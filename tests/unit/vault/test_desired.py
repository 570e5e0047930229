"""What Vault is to hold is worked out from the services, exactly, and compared with what is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.vault.desired import Service, desired, differences

WEB = Service(
    host="web1", name="web", addresses=("192.0.2.1", "2001:db8::1"), names=("api.example.com",)
)
APP = Service(host="app1", name="gateway", addresses=("192.0.2.2",), database="gateway_app")


class Memory:
    """An API that holds what it was given."""

    def __init__(self) -> None:
        self.data: dict[str, dict[str, Any]] = {}

    def read(self, path: str) -> Mapping[str, Any] | None:
        return self.data.get(path)

    def list(self, path: str) -> list[str]:
        below = (name.removeprefix(f"{path}/") for name in self.data if name.startswith(f"{path}/"))
        return [name for name in below if "/" not in name]

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        self.data[path] = {**self.data.get(path, {}), **data}
        return {}

    def delete(self, path: str) -> None:
        del self.data[path]

    def converge(self, *services: Service) -> list[str]:
        paths = []
        for path, data in differences(self, desired(services)):
            paths.append(path)
            if data is None:
                self.delete(path)
            else:
                self.write(path, data)
        return paths


def policies(*services: Service) -> dict[str, str]:
    return {
        setting.path.rpartition("/")[2]: setting.wanted["policy"]
        for setting in desired(services).settings
        if "policies" in setting.path
    }


def test_what_is_as_wanted_is_left_alone() -> None:
    memory = Memory()
    assert memory.converge(WEB, APP)
    assert memory.converge(WEB, APP) == []


def test_a_setting_that_was_changed_is_put_back() -> None:
    memory = Memory()
    memory.converge(WEB)
    memory.data["pki-servers/roles/holdfast-web1-web"]["allow_any_name"] = True
    memory.data["auth/approle/role/holdfast-web1-web"]["token_policies"] = ["root"]
    assert sorted(memory.converge(WEB)) == [
        "auth/approle/role/holdfast-web1-web",
        "pki-servers/roles/holdfast-web1-web",
    ]
    assert memory.data["auth/approle/role/holdfast-web1-web"]["token_policies"] == [
        "holdfast-web1-web"
    ]


def test_a_service_that_is_gone_loses_everything_it_had() -> None:
    memory = Memory()
    memory.converge(WEB, APP)
    memory.converge(APP)
    assert [path for path in memory.data if "web1" in path] == []
    assert [path for path in memory.data if "app1-gateway" in path]


def test_what_is_not_ours_is_left_alone() -> None:
    memory = Memory()
    memory.data["sys/policies/acl/deployer"] = {"policy": "theirs"}
    memory.converge(WEB)
    assert memory.data["sys/policies/acl/deployer"] == {"policy": "theirs"}


def test_a_service_may_do_exactly_what_it_needs() -> None:
    found = policies(WEB, APP)
    assert found["holdfast-web1-web"] == (
        'path "pki-servers/issue/holdfast-web1-web" {\n  capabilities = ["update"]\n}\n'
    )
    assert found["holdfast-app1-gateway"] == (
        'path "database/creds/gateway_app" {\n  capabilities = ["read"]\n}\n'
    )


def test_a_host_hands_out_identities_of_its_own_services_only_and_wrapped() -> None:
    found = policies(WEB, APP)["holdfast-web1"]
    assert found.count("path ") == 1
    assert "auth/approle/role/holdfast-web1-web/secret-id" in found
    assert 'min_wrapping_ttl = "1s"' in found


def test_an_identity_is_bound_to_the_addresses_of_its_host_and_used_once() -> None:
    settings = {setting.path: setting.wanted for setting in desired([WEB]).settings}
    service = settings["auth/approle/role/holdfast-web1-web"]
    assert service["secret_id_bound_cidrs"] == ["192.0.2.1/32", "2001:db8::1/128"]
    assert service["token_bound_cidrs"] == ["192.0.2.1", "2001:db8::1"]
    assert service["secret_id_num_uses"] == 1


def test_a_certificate_is_for_exact_names() -> None:
    settings = {setting.path: setting.wanted for setting in desired([WEB]).settings}
    role = settings["pki-servers/roles/holdfast-web1-web"]
    assert role["allowed_domains"] == ["api.example.com"]
    assert [key for key in role if key.startswith("allow_") and role[key] is True] == [
        "allow_bare_domains"
    ]
