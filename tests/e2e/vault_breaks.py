"""What an operator could do wrong to Vault: `python -m tests.e2e.vault_breaks WHAT`.

The installation is HOLDFAST_NAME.

root      make a root token and leave it
policy    write a policy that nobody asked for
mended    take that policy away again
"""

import os
import sys
from pathlib import Path

from holdfast import inventory, paths
from holdfast.installation import Installation
from holdfast.vault.at_hand import log_in_if_needed
from holdfast.vault.login import deployer
from holdfast.vault.quorum import enough, root_token
from holdfast.vault.site import Site
from holdfast.vault.unsealing import current

_POLICY = "sys/policies/acl/holdfast-red"


def _leave_root_token(site: Site) -> None:
    shares = enough(
        site.records,
        current(site.records),
        site.holding(given={}, interactive=False),
        say=site.say,
    )
    with root_token(site.cluster.leader(), shares, say=site.say):
        os._exit(0)  # whoever is killed here leaves it


def main() -> None:
    path = Path(os.environ.get("HOLDFAST_INVENTORY", paths.repository() / "inventory" / "local"))
    site = Site(Installation(os.environ["HOLDFAST_NAME"]), inventory.load(path), print)
    if sys.argv[1] == "root":
        _leave_root_token(site)
    nodes = {host.name: host.addresses[0] for host in site.inventory.group("vault")}
    log_in_if_needed(site.installation, nodes)
    vault = deployer(site.installation, nodes)
    if sys.argv[1] == "policy":
        vault.write(_POLICY, {"policy": 'path "database/*" {\n  capabilities = ["read"]\n}\n'})
    else:
        vault.delete(_POLICY)


if __name__ == "__main__":
    main()
