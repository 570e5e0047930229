"""An inventory may set what a role declares, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.variables import read_interface, roles_of


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    meta = tmp_path / "web" / "meta"
    meta.mkdir(parents=True)
    (meta / "argument_specs.yml").write_text(
        "argument_specs:\n"
        "  main: {options: {web_domain: {type: str}, web_sites: {type: list}}}\n"
        "  reload: {options: {web_reload_seconds: {type: int}}}\n"
    )
    (tmp_path / "renamed.yml").write_text("web_host: web_domain\n")
    return tmp_path


def test_known_names_pass(roles: Path) -> None:
    interface = read_interface(roles)
    assert interface.findings(["web_domain", "web_reload_seconds"]) == []


def test_a_misspelt_name_gets_the_nearest(roles: Path) -> None:
    assert read_interface(roles).findings(["web_domian"]) == [
        "web_domian is not a variable of any role: did you mean web_domain?"
    ]


def test_a_name_like_no_other_is_refused_too(roles: Path) -> None:
    (finding,) = read_interface(roles).findings(["colour"])
    assert finding.startswith("colour is not a variable of any role: remove it")


def test_a_renamed_variable_names_its_successor(roles: Path) -> None:
    assert read_interface(roles).findings(["web_host"]) == [
        "web_host was renamed: write web_domain."
    ]


def test_what_a_role_defaults_itself_is_not_required_of_the_inventory(roles: Path) -> None:
    (roles / "web" / "meta" / "argument_specs.yml").write_text(
        "argument_specs:\n"
        "  main: {options: {web_domain: {required: true}, web_name: {required: true}}}\n"
    )
    (roles / "web" / "defaults").mkdir()
    (roles / "web" / "defaults" / "main.yml").write_text("web_domain: '{{ installation_domain }}'")
    options = read_interface(roles).roles["web"]
    assert (options["web_domain"]["required"], options["web_name"]["required"]) == (False, True)


def test_the_roles_of_a_host_follow_its_groups(tmp_path: Path) -> None:
    site = tmp_path / "site.yml"
    site.write_text(
        "- {hosts: installation, roles: [{role: base}, ssh]}\n"
        "- {hosts: 'egress:web', roles: [{role: proxy}]}\n"
        "- {hosts: web, tasks: [{ansible.builtin.import_role: {name: base}},"
        " {ansible.builtin.import_role: {name: web}}]}\n"
        "- {hosts: vault}\n"
    )
    assert roles_of(site, ["installation", "web"]) == ["base", "ssh", "proxy", "web"]
    assert roles_of(site, ["installation"]) == ["base", "ssh"]
