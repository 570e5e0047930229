"""What `up` ends with: where things are, what the audit found, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from holdfast.audit import reports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from holdfast.audit.runner import Audit
    from holdfast.cli.context import Context

_NEXT = """\
What to do next
  holdfast{name} status            what stands where
  holdfast{name} ssh web1          log in to a host
  holdfast{name} audit             prove it again
  holdfast{name} destroy           leave nothing behind
  (the command is .venv/bin/holdfast)"""


def show(context: Context, result: Audit, written: Sequence[Path]) -> None:
    """Print the audit and, for hosts on this machine, how to reach what stands on them."""
    console = Console(highlight=False)
    reports.show(result, console)
    console.print("\nWhere everything is", style="bold")
    for host in context.inventory.group("web"):
        names = host.variables.get("local_names", ())
        domain = context.installation.domain
        for name in names:
            console.print(f"  https://{name}.{domain}/  at {host.name}, {host.address}")
        if names:
            ca = context.installation.folder / "vault" / "root-ca.crt"
            pin = f"--resolve {names[0]}.{domain}:443:{host.address}"
            console.print("  these names are known on the hosts only; from this machine:")
            console.print(
                f"    curl {pin} --cacert {ca} https://{names[0]}.{domain}/", soft_wrap=True
            )
    for path in written:
        console.print(f"  {path}", soft_wrap=True)
    console.print(f"  {context.installation.folder / 'logs'}\n", soft_wrap=True)
    name = context.installation.name
    console.print(_NEXT.format(name="" if name == "local" else f" --name {name}"))
