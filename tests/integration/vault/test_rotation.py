"""The intermediate is replaced in a real Vault: every certificate holds, whoever is killed when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from holdfast.vault import servers
from holdfast.vault.authority import Authority, certificate, ensure_authorities, unlock
from holdfast.vault.client import Vault
from holdfast.vault.desired import SERVERS, Service, desired, differences
from holdfast.vault.quorum import enough, root_token
from holdfast.vault.rotation import Rotation
from holdfast.vault.servers import (
    current,
    intermediates,
    is_changing,
    new_intermediate,
    why_new_intermediate,
)
from holdfast.vault.unsealing import current as protocol
from tests.integration.vault.conftest import Office, errors, killed
from tests.integration.vault.test_ceremony_policy import logged_in

DOMAIN = "test.example"
WEB = Service(host="web1", name="web", addresses=("127.0.0.1",), names=(f"api.{DOMAIN}",))


@dataclass
class Pki:
    """A Vault that signs for services, and the root that lies with the operators."""

    vault: Vault  # as a deployer
    root_login: Vault
    folder: Path
    office: Office
    said: list[str] = field(default_factory=list)
    unlocked: int = 0

    @property
    def root(self) -> x509.Certificate:
        return certificate(self.folder, "root-ca")

    def unlock(self) -> Authority:
        self.unlocked += 1
        return unlock(self.folder, "root-ca", self.office.holders()["ben"])  # type: ignore[arg-type]

    def rotation(self, **changes: Any) -> Rotation:
        fields: dict[str, Any] = {
            "api": self.vault,
            "root": self.root,
            "unlock": self.unlock,
            "domain": DOMAIN,
            "agents": (),
            "say": self.said.append,
        }
        return Rotation(**{**fields, **changes})

    def converge(self) -> None:
        for path, data in differences(self.vault, desired([WEB])):
            assert data is not None
            self.vault.write(path, data)

    def issue(self, ttl: str = "1h") -> tuple[x509.Certificate, x509.Certificate]:
        """Return a certificate as an agent gets it, and the intermediate that comes with it."""
        asked = {"common_name": WEB.names[0], "ttl": ttl}
        made = self.root_login.write(f"{SERVERS}/issue/{WEB.role}", asked)
        load = x509.load_pem_x509_certificate
        return load(made["certificate"].encode()), load(made["issuing_ca"].encode())

    def holds(self, leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
        """Tell whether a client that trusts the root takes it, by another library's word."""
        builder = PolicyBuilder().store(Store([self.root]))
        verifier = builder.build_server_verifier(x509.DNSName(WEB.names[0]))
        return verifier.verify(leaf, [issuer])[-1] == self.root

    def names(self) -> list[str]:
        return sorted(one.name.partition("-")[0] for one in intermediates(self.vault))


@pytest.fixture
def pki(alive: Office, authority: trustme.CA, memory: Path) -> Iterator[Pki]:
    """One with its first intermediate."""
    vault = logged_in(alive, authority, memory)
    folder = memory / "authorities"
    ensure_authorities(
        folder, installation="test", domain=DOMAIN, operators=alive.quorum().operators
    )
    shares = enough(alive.records, protocol(alive.records), alive.holders(), say=alive.say)
    with root_token(alive.cluster.leader(), shares, say=alive.say) as root:
        made = Pki(vault, root, folder, alive)
        made.converge()
        assert why_new_intermediate(vault, made.root) == "there is none"
        new_intermediate(vault, made.unlock(), domain=DOMAIN)
        assert why_new_intermediate(vault, made.root) is None
        made.unlocked = 0
        yield made


def revocation_list(pki: Pki, issuer: str) -> x509.CertificateRevocationList:
    told = pki.vault.read(f"{SERVERS}/issuer/{issuer}/crl")
    assert told is not None
    return x509.load_pem_x509_crl(str(told["crl"]).encode())


def test_before_and_after_every_certificate_holds(pki: Pki) -> None:
    before = current(pki.vault)
    assert before is not None
    old = pki.issue()
    outcome = pki.rotation().run(now=False)
    after = current(pki.vault)
    assert after is not None
    new = pki.issue()
    assert outcome.made
    assert outcome.current == after.serial != before.serial
    assert before.signed(old[0])
    assert after.signed(new[0])
    assert pki.holds(*old)
    assert pki.holds(*new)
    assert [one.serial for one in outcome.kept] == [before.serial]
    assert outcome.kept[0].ends == old[0].not_valid_after_utc
    assert pki.names() == ["", "former"]
    # Nobody restricted the new one, and each has a list of its own.
    for one in (before, after):
        found = revocation_list(pki, one.id)
        assert found.is_signature_valid(one.certificate.public_key())  # type: ignore[arg-type]
        assert found.next_update_utc is not None
        assert found.next_update_utc > datetime.now(UTC) + timedelta(days=6)


def test_what_was_replaced_signs_nothing_any_more(pki: Pki) -> None:
    before = current(pki.vault)
    assert before is not None
    pki.issue()
    pki.rotation().run(now=False)
    told = pki.vault.read(f"{SERVERS}/issuer/{before.id}") or {}
    assert set(str(told["usage"]).split(",")) == {"read-only", "crl-signing"}


def test_it_goes_when_the_last_certificate_has_ended(pki: Pki) -> None:
    before = current(pki.vault)
    assert before is not None
    leaf, _ = pki.issue()
    pki.rotation().run(now=False)
    kept = pki.rotation().clean()
    assert kept.removed == ()
    assert len(intermediates(pki.vault)) == 2
    end = leaf.not_valid_after_utc
    assert servers.remove_ended(pki.vault, now=end + timedelta(minutes=4))[0] == []
    assert servers.remove_ended(pki.vault, now=end + timedelta(minutes=6)) == ([before.serial], [])
    assert pki.names() == [""]
    assert why_new_intermediate(pki.vault, pki.root) is None


def test_one_that_signed_nothing_goes_at_once_and_the_root_stays(pki: Pki) -> None:
    issuers = len(pki.vault.list(f"{SERVERS}/issuers"))
    outcome = pki.rotation().run(now=False)
    assert len(outcome.removed) == 1
    assert len(pki.vault.list(f"{SERVERS}/issuers")) == issuers
    assert pki.holds(*pki.issue())


def test_without_an_intermediate_it_says_what_to_run(pki: Pki) -> None:
    for one in pki.vault.list(f"{SERVERS}/issuers"):
        pki.vault.delete(f"{SERVERS}/issuer/{one}")
    assert "run site.yml" in errors(lambda: pki.rotation().run(now=False))


# --- killed ---


@dataclass
class Counting:
    """The API, whose changes are counted; before or after one of them, something happens."""

    vault: Vault
    strike: Callable[[int, str], None]
    done: int = 0

    def read(self, path: str) -> Mapping[str, Any] | None:
        return self.vault.read(path)

    def list(self, path: str) -> list[str]:
        return self.vault.list(path)

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._changed(lambda: self.vault.write(path, data))

    def delete(self, path: str) -> None:
        self._changed(lambda: self.vault.delete(path))

    def _changed(self, work: Callable[[], Any]) -> Any:
        self.done += 1
        self.strike(self.done, "before")
        found = work()
        self.strike(self.done, "after")
        return found


# What it writes: name, key, certificate, default, name again; what it removes is tested above.
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_step_and_run_again(pki: Pki, step: int, moment: str) -> None:
    before = current(pki.vault)
    assert before is not None
    old = pki.issue()

    def arrange(kill: Callable[[], None]) -> None:
        def strike(number: int, when: str) -> None:
            if (number, when) == (step, moment):
                kill()

        pki.rotation = lambda **how: Pki.rotation(pki, api=Counting(pki.vault, strike), **how)  # type: ignore[method-assign]

    assert killed(lambda: pki.rotation().run(now=False), at=arrange)
    between = pki.issue()
    assert pki.holds(*old)
    assert pki.holds(*between)
    if (step, moment) == (5, "after"):  # it had done everything
        assert not is_changing(pki.vault)
    else:
        pki.rotation().run(now=False)
    after = current(pki.vault)
    assert after is not None
    assert after.id != before.id
    assert pki.names() == ["", "former"]
    assert pki.holds(*old)
    assert pki.holds(*between)
    assert pki.holds(*pki.issue())
    # The root is opened again only where nothing was signed before.
    done = step > 3 or (step, moment) == (3, "after")
    assert pki.unlocked == (0 if done else 1)


# --- agents ---


@dataclass
class Renewing:
    """An agent on a host."""

    pki: Pki
    host: str = "web1"
    service: str = "web"
    works: bool = True
    told: int = 0
    has: x509.Certificate | None = None

    def certificate(self) -> x509.Certificate | None:
        return self.has

    def renew(self) -> None:
        self.told += 1
        if self.works:
            self.has, _ = self.pki.issue()


@pytest.fixture
def agents(pki: Pki) -> list[Renewing]:
    made = [Renewing(pki, host=f"web{number}") for number in (1, 2, 3)]
    for agent in made:
        agent.renew()
        agent.told = 0
    return made


def test_now_every_agent_renews_once(pki: Pki, agents: list[Renewing]) -> None:
    outcome = pki.rotation(agents=agents).run(now=True)
    assert outcome.moved == ("web1/web", "web2/web", "web3/web")
    assert [agent.told for agent in agents] == [1, 1, 1]
    new = current(pki.vault)
    assert new is not None
    assert all(agent.has and new.signed(agent.has) for agent in agents)


def test_without_now_no_agent_is_told(pki: Pki, agents: list[Renewing]) -> None:
    assert pki.rotation(agents=agents).run(now=False).moved == ()
    assert [agent.told for agent in agents] == [0, 0, 0]


def test_it_stops_at_an_agent_that_does_not_renew_and_goes_on_there(
    pki: Pki, agents: list[Renewing]
) -> None:
    agents[1].works = False
    outcome = pki.rotation(agents=agents, seconds=1).run(now=True)
    assert outcome.moved == ("web1/web",)
    assert "web on web2" in outcome.findings[0]
    assert "journalctl" in outcome.findings[0]
    assert [agent.told for agent in agents] == [1, 1, 0]
    agents[1].works = True
    again = pki.rotation(agents=agents).run(now=True)
    assert (again.made, again.findings) == (False, ())
    assert again.current == outcome.current
    assert [agent.told for agent in agents] == [1, 2, 1]
    assert pki.names() == ["", "former"]
