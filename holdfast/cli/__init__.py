"""The operator's front: one command a file, thin over the rest."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

import click

from holdfast import paths
from holdfast.cli import artifacts, console, vault
from holdfast.cli.audit import audit
from holdfast.cli.context import Context
from holdfast.cli.hosts import logs, ssh, status
from holdfast.cli.lifecycle import destroy, down, up
from holdfast.cli.vault_login import login
from holdfast.cli.vault_rotation import rotate_intermediate
from holdfast.errors import Busy, Error
from holdfast.installation import Installation

EXIT_ERROR = 2
EXIT_BUSY = 3
EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--name",
    envvar="HOLDFAST_NAME",
    default="local",
    show_default=True,
    help="The installation; several stand side by side under different names.",
)
@click.option(
    "--inventory",
    envvar="HOLDFAST_INVENTORY",
    type=click.Path(path_type=Path),
    default=paths.repository() / "inventory" / "local",
    help="Folder with the installation's hosts and variables.  [default: inventory/local]",
)
@click.pass_context
def cli(context: click.Context, name: str, inventory: Path) -> None:
    """Provision a dedicated installation, keep it, and prove what it promises.

    \b
    Begin with:
      holdfast up          start the hosts, configure them, audit them
      holdfast status      what stands where
      holdfast audit       prove it again
      holdfast destroy     leave nothing behind

    \b
    Exit status, of every command:
      0    done
      1    the command worked and found something wrong (audit: a control failed)
      2    error: nothing is half done that running again does not repair
      3    busy: another command works on the same thing; try again, or --wait
      130  interrupted
    """
    os.environ["HOLDFAST_NAME"] = name  # read by inventory/local/servers, under every command
    context.obj = Context(Installation(name), inventory.resolve())


for command in (login, rotate_intermediate):
    vault.group.add_command(command)
for command in (up, down, destroy, status, ssh, logs, audit, vault.group, artifacts.group):
    cli.add_command(command)


def main() -> None:
    """Run the command line; the only place where an error becomes an exit status."""
    _settle_environment()
    try:
        status = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        console.fail("interrupted; run the same command again to go on.")
        status = EXIT_INTERRUPTED
    except Busy as error:
        console.fail(str(error))
        status = EXIT_BUSY
    except Error as error:
        console.fail(str(error))
        status = EXIT_ERROR
    except PermissionError as error:
        console.fail(f"{error.filename} may not be read or written by you; run again with sudo.")
        status = EXIT_ERROR
    except OSError as error:
        console.fail(f"{error}; nothing was left half written. Mend that and run again.")
        status = EXIT_ERROR
    except Exception:  # noqa: BLE001  (a fault of ours must not look like a broken promise)
        traceback.print_exc()
        console.fail("this is a fault of Holdfast; please report it with the lines above.")
        status = EXIT_ERROR
    sys.exit(status if isinstance(status, int) else 0)


def _settle_environment() -> None:
    """What every command and its children need, whatever shell they were started from."""
    # Ansible wants UTF-8, and a forwarded locale may not exist on this machine.
    os.environ["LC_ALL"] = "C.UTF-8"
    # Found even where the clone is writable for others, and instead of the caller's own.
    os.environ["ANSIBLE_CONFIG"] = str(paths.repository() / "ansible.cfg")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
