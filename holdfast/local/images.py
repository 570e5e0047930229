"""Base images: a minimal Debian that boots systemd and answers SSH, made once and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING, Final, Literal, get_args

from holdfast.errors import Error
from holdfast.files import write_atomic
from holdfast.local import apt
from holdfast.local.podman import folder
from holdfast.process import ALONE, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.local.podman import Podman

Release = Literal["trixie", "bookworm"]
OPERATOR: Final = "ops"

_RECIPE: Final = 3  # raised when what this module does to an image changes
_MAX_AGE_SECONDS: Final = 24 * 3600  # a new host should start with the security updates of its day
_BOOT: Final = (
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "python3-minimal",
    "python3-apt",
    "iproute2",
)
# What every host gets from the roles anyway: here it is downloaded once instead of once per host.
_COMMON: Final = (
    "ca-certificates",
    "needrestart",
    "nftables",
    "python3",
    "systemd-timesyncd",
    "unattended-upgrades",
)
# A server from a provider arrives like this: an account with a key, sudo, no host key of its own.
# Without shared mounts, LoadCredential= stays silently empty in a container.
_HOOK: Final = f"""
chroot "$1" useradd --create-home --shell /bin/bash {OPERATOR}
install -m 0440 /dev/null "$1/etc/sudoers.d/{OPERATOR}"
echo "{OPERATOR} ALL=(ALL:ALL) NOPASSWD: ALL" >"$1/etc/sudoers.d/{OPERATOR}"
rm -f "$1"/etc/ssh/ssh_host_*
# A proxy on this machine's own loopback serves the making, and could not serve a host.
own="$1/etc/apt/apt.conf.d/99mmdebstrap"
[ ! -e "$own" ] || sed -i '\\,//127[.]\\|//localhost[:/]\\|//\\[::1\\],d' "$own"
cat >"$1/etc/systemd/system/shared-mounts.service" <<'UNIT'
[Unit]
Description=Let units see the mounts that systemd makes for them, as on a machine of its own
Documentation=man:systemd.exec(5)
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=mount --make-rshared /
UNIT
mkdir -p "$1/etc/systemd/system/sysinit.target.wants"
ln -s ../shared-mounts.service "$1/etc/systemd/system/sysinit.target.wants/"
"""


class ImageFailed(Error):
    """A base image could not be made."""


def ensure_image(
    podman: Podman,
    *,
    release: str,
    packages: Sequence[str] = (),
    say: Callable[[str], None],
) -> str:
    """Return the name of the image for `release` with `packages`, making it when it is not there.

    It is named by a digest of its inputs, and made anew when it is older than a day.
    """
    if release not in get_args(Release):
        raise ImageFailed(
            f"There is no base image for {release!r}; set local_release to "
            f"{' or '.join(get_args(Release))}."
        )
    wanted = sorted({*_BOOT, *_COMMON, *packages})
    mirrors, proxy = apt.sources(release), apt.proxy()
    inputs = (_RECIPE, release, wanted, _HOOK, mirrors, proxy)
    digest = hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]
    name = f"localhost/holdfast-{release}:{digest}"
    if podman.succeeds("image", "exists", name) and _age(podman, name) < _MAX_AGE_SECONDS:
        return name
    say(f"making the {release} base image with {len(wanted)} packages (once a day; about a minute)")
    scratch = folder() / "image"  # one at a time: callers hold the machine's lock
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir(parents=True)
    try:
        archive = scratch / "image.tar"
        # A file, not arguments: everybody may read those, and a proxy may want a password.
        write_atomic(scratch / "apt.conf", "".join(f"{line}\n" for line in proxy))
        run(
            [
                *ALONE,
                "mmdebstrap",
                "--quiet",
                "--mode=root",
                "--variant=minbase",
                f"--include={','.join(wanted)}",
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                f"--aptopt={scratch / 'apt.conf'}",
                f"--customize-hook={_HOOK}",
                # The first package that a role installs needs no download of lists.
                "--skip=cleanup/apt/lists",
                release,
                str(archive),
                *mirrors,
            ],
            # Not in /tmp, which may be memory, or forbid devices and programs.
            env={**os.environ, "TMPDIR": str(scratch)},
            timeout=900,
        )
        # podman import tags only a complete image.
        podman("import", "--quiet", str(archive), name, timeout=300)
        podman("image", "prune", "--all", "--force", "--filter", f"until={_MAX_AGE_SECONDS}s")
    finally:
        shutil.rmtree(scratch)
    return name


def _age(podman: Podman, name: str) -> float:
    created = podman("image", "inspect", "--format", "{{.Created.Unix}}", name)
    return time.time() - int(created)
