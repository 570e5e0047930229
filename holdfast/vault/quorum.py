"""What enough operators together can do with an open Vault: new shares, and a root token's work."""

from __future__ import annotations

import base64
import secrets
import string
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from holdfast.errors import Error
from holdfast.vault.ceremony import (
    Unproven,
    collect_signatures,
    encrypted_shares,
    end_root_token,
    keys_for_vault,
    parties,
)
from holdfast.vault.client import Denied, Refused, Sealed, Token
from holdfast.vault.cluster import WrongShares
from holdfast.vault.protocol import Protocol
from holdfast.vault.shares import strangers
from holdfast.vault.unsealing import TooFew, current, gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from holdfast.vault.client import Vault
    from holdfast.vault.cluster import Cluster
    from holdfast.vault.holders import Holder
    from holdfast.vault.operators import Quorum
    from holdfast.vault.records import Records
    from holdfast.vault.shares import Share

_REKEY = "sys/rekey/init"
_ROOT = "sys/generate-root/attempt"


@dataclass(frozen=True, kw_only=True)
class Rekey:
    """New shares for the operators of the inventory, by the quorum of those who hold shares now.

    The shares of today stay valid until Vault has seen that the new ones open it, so that it can be
    interrupted at any moment. `new_holders` gives a way to everybody in `quorum`.
    """

    installation: str
    cluster: Cluster
    records: Records
    quorum: Quorum
    holders: Mapping[str, Holder]
    new_holders: Mapping[str, Holder]
    conductor: str
    say: Callable[[str], None]
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def run(self) -> None:
        """Replace the shares, or finish a rekey that was cut off after Vault had taken them."""
        for warning in self.quorum.warnings():
            self.say(f"warning: {warning}")
        missing = [one.name for one in self.quorum.operators if one.name not in self.new_holders]
        if missing:
            raise Unproven(
                "Every operator proves that they can open their new share, and there is no way to "
                f"{', '.join(missing)} from here; run on a terminal, or give pipes with "
                "--new-share NAME=FILE."
            )
        leader = self.cluster.leader()
        self._require_every_node()
        self._settle(leader)
        begun = self._time()
        protocol = current(self.records)
        shares = enough(self.records, protocol, self.holders, say=self.say)
        nonce = self._start(leader)
        try:
            answer = self._authorise(leader, nonce, shares)
            new = self._keep(leader, protocol, answer, begun=begun, by=shares)
        except BaseException:
            with suppress(Error):
                leader.withdraw(_REKEY, {"nonce": nonce})
            self.records.drop_next()
            raise
        self._verify(leader, nonce, answer["verification_nonce"], new)
        self.records.mark_next_verified()
        self._promote()

    def _require_every_node(self) -> None:
        """A node that learns nothing of the new shares would want the old ones to open."""
        for node in self.cluster.nodes:
            if node.vault.seal_status().sealed:
                raise Sealed(
                    f"{node.name} is sealed, and would not know the new shares; run `holdfast "
                    "vault unseal` first."
                )

    def _promote(self) -> None:
        self.records.promote_next()
        self.say("the new shares are valid; what the old ones open is this Vault's snapshots only")
        collect_signatures(self.records, self.quorum.operators, self.new_holders, say=self.say)

    def _start(self, leader: Vault) -> str:
        answer = leader.tell(
            _REKEY,
            {
                "secret_shares": len(self.quorum.operators),
                "secret_threshold": self.quorum.threshold,
                "pgp_keys": keys_for_vault(self.quorum.operators),
                "require_verification": True,
            },
        )
        return str(answer["nonce"])

    def _authorise(self, leader: Vault, nonce: str, shares: Sequence[Share]) -> dict[str, Any]:
        answer = _give_all(leader, "sys/rekey/update", nonce, shares)
        if not answer.get("complete") or not answer.get("verification_required"):
            raise TooFew("Vault wants more shares than the protocol says; look at its log.")
        return answer

    def _keep(
        self,
        leader: Vault,
        protocol: Protocol,
        answer: Mapping[str, Any],
        *,
        begun: str,
        by: Sequence[Share],
    ) -> list[Share]:
        """Write the new shares, encrypted, and have everybody open theirs before they count."""
        operators = self.quorum.operators
        messages = encrypted_shares(operators, answer["keys_base64"])
        self.records.next.write_shares(messages)
        new = []
        for name, message in messages.items():
            file = self.records.next.share_file(name)
            self.say(f"{name}: giving the new share in {file}")
            new.append(self.new_holders[name].share(message))
        strange = strangers(new, threshold=self.quorum.threshold)
        if strange:
            raise Unproven(
                f"The share that {', '.join(strange)} gave does not fit the others: it is another "
                "one; nothing was changed. Run again."
            )
        self.records.next.write_protocol(
            Protocol(
                event="rekey",
                installation=self.installation,
                cluster_id=protocol.cluster_id,
                vault_version=leader.seal_status().version,
                conductor=self.conductor,
                begun=begun,
                ended=self._time(),
                threshold=self.quorum.threshold,
                operators=parties(operators, messages),
                rounds=(tuple(one.name for one in operators),),
                set_up=(f"new shares, authorised by {', '.join(one.owner for one in by)}",),
                previous=protocol.digest(),
            )
        )
        return new

    def _verify(self, leader: Vault, nonce: str, verification: str, new: Sequence[Share]) -> None:
        try:
            answer = _give_all(
                leader, "sys/rekey/verify", verification, new[: self.quorum.threshold]
            )
        except WrongShares:
            # Vault has looked at them and kept the old ones.
            with suppress(Error):
                leader.withdraw(_REKEY, {"nonce": nonce})
            self.records.drop_next()
            raise
        if not answer.get("complete"):
            raise TooFew("Vault did not take the new shares; the old ones are valid. Run again.")

    def _settle(self, leader: Vault) -> None:
        """Deal with a rekey that was cut off."""
        found = leader.ask(_REKEY)
        if found.get("started"):
            self.say("an earlier rekey was not completed: it is cancelled, the old shares hold")
            leader.withdraw(_REKEY, {"nonce": found["nonce"]})
            self.records.drop_next()
        following = self.records.next.protocol() if self.records.next.folder.exists() else None
        if following is None:
            self.records.drop_next()
            return
        if not self.records.next_is_verified():
            self.say("an earlier rekey was cut off at its end: trying which shares are valid")
            if not self._is_valid(leader, following):
                self.records.drop_next()
                self.say("the old shares are valid")
                return
            self.records.mark_next_verified()
        self.records.promote_next()
        self.say("the new shares of the earlier rekey are valid")

    def _is_valid(self, leader: Vault, following: Protocol) -> bool:
        """Tell whether Vault takes the next set of shares, by beginning a rekey with them."""
        status = leader.seal_status()
        if (status.threshold, status.shares) != (following.threshold, len(following.operators)):
            return False
        shares = enough(self.records.next, following, self.new_holders, say=self.say)
        nonce = self._start(leader)
        try:
            self._authorise(leader, nonce, shares)
        except WrongShares:
            return False
        finally:
            with suppress(Error):
                leader.withdraw(_REKEY, {"nonce": nonce})
        return True

    def _time(self) -> str:
        return self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def root_token(
    leader: Vault, shares: Sequence[Share], *, say: Callable[[str], None]
) -> Iterator[Vault]:
    """Give the leader's client a root token, and leave none behind: neither this one nor others."""
    found = leader.ask(_ROOT)
    if found.get("started"):
        say("an earlier generation of a root token was not completed: it is cancelled")
        leader.withdraw(_ROOT)
    password = "".join(
        secrets.choice(string.ascii_letters + string.digits) for _ in range(found["otp_length"])
    )
    nonce = leader.tell(_ROOT, {"otp": password})["nonce"]
    try:
        answer = _give_all(leader, "sys/generate-root/update", nonce, shares)
    except BaseException:
        with suppress(Error):
            leader.withdraw(_ROOT)
        raise
    leader.token = Token(value=_decode(answer["encoded_token"], password))
    say("Vault gave a root token")
    try:
        yield leader
    finally:
        others = _revoke_other_roots(leader)
        end_root_token(leader)
        say("the root token is revoked" + (f", and {others} that were left" if others else ""))


def _revoke_other_roots(vault: Vault) -> int:
    own = (vault.read("auth/token/lookup-self") or {})["accessor"]
    count = 0
    for accessor in vault.list("auth/token/accessors"):
        if accessor == own:
            continue
        with suppress(Denied, Refused):  # it ended meanwhile
            found = vault.write("auth/token/lookup-accessor", {"accessor": accessor})
            if "root" in found["policies"]:
                vault.write("auth/token/revoke-accessor", {"accessor": accessor})
                count += 1
    return count


def _decode(encoded: str, password: str) -> str:
    raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    return bytes(a ^ b for a, b in zip(raw, password.encode(), strict=True)).decode()


def _give_all(leader: Vault, path: str, nonce: str, shares: Sequence[Share]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for share in shares:
        try:
            answer = leader.tell(path, {"key": share.secret(), "nonce": nonce})
        except Refused as error:
            names = ", ".join(share.owner for share in shares)
            raise WrongShares(
                f"Vault does not take the shares of {names}: one of them is older than the last "
                "rekey, or of another Vault; nothing was changed. Decrypt the files in shares/ "
                "again, or begin with another operator."
            ) from error
    return answer


def enough(
    records: Records,
    protocol: Protocol,
    holders: Mapping[str, Holder],
    *,
    say: Callable[[str], None],
) -> tuple[Share, ...]:
    """Return as many shares as Vault wants. Raises TooFew with what kept the others back."""
    gathered = gather(records, protocol, holders, wanted=protocol.threshold, say=say)
    have = [share.owner for share in gathered.shares]
    if len(have) < protocol.threshold:
        others = [party.name for party in protocol.operators if party.name not in have]
        wanted = (
            f"{protocol.threshold} shares are needed, and {len(have)} are at hand; bring "
            f"{protocol.threshold - len(have)} more of {', '.join(others)} to this terminal, or "
            "give pipes with --share NAME=FILE."
        )
        raise TooFew("\n".join([*gathered.problems, wanted]))
    return gathered.shares
