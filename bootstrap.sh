#!/bin/sh
# Makes a bare Debian 12 or 13 machine ready for `holdfast`: Debian packages, then .venv from the lock.
# Run by make; safe to run at any time, and again after it was killed.
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C.UTF-8
lock=requirements/${1:-holdfast}.txt

fail() {
    echo "bootstrap: $1" >&2
    exit 2
}

. /etc/os-release
case "${ID:-}-${VERSION_ID:-}" in
debian-12 | debian-13) ;;
*) fail "this is ${PRETTY_NAME:-an unknown system}; run on Debian 12 or 13." ;;
esac

if [ "$(id -u)" -eq 0 ]; then
    root=
elif command -v sudo >/dev/null; then
    root=sudo
else
    fail "installing packages needs root; run as root, or install sudo."
fi

packages="python3 python3-venv openssh-client git ca-certificates
    iproute2 util-linux podman netavark aardvark-dns runc conmon catatonit iptables nftables mmdebstrap gpgv gnupg"
missing=
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=absent
    [ "$status" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "bootstrap: installing from Debian:$missing"
    apt="apt-get -qq -o DPkg::Lock::Timeout=300"
    # shellcheck disable=SC2086  # a command with its options
    $root $apt update
    # shellcheck disable=SC2086  # a list of names
    $root env DEBIAN_FRONTEND=noninteractive $apt install --yes --no-install-recommends $missing >/dev/null
fi

# A lock already satisfied by a wider one (dev holds all of holdfast) is not installed again. A clone
# that was moved, and a Python that was upgraded, need a new .venv as well.
sum() {
    { cat "$1" pyproject.toml; /usr/bin/python3 --version; pwd; } | sha256sum
}
exec 9>.bootstrap.lock
flock 9
for stamp in .venv/.installed-dev .venv/.installed-"${1:-holdfast}"; do
    wanted=requirements/${stamp##*-}.txt
    [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(sum "$wanted")" ] && exit 0
done
echo "bootstrap: installing the locked Python packages into .venv (about a minute the first time)"
rm -f .venv/.installed-*
/usr/bin/python3 -m venv --clear .venv
pip="env -u PYTHONPATH .venv/bin/pip --disable-pip-version-check"
$pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement "$lock"
$pip install -qq --no-deps --no-build-isolation --editable .
sum "$lock" >".venv/.installed-${1:-holdfast}"
