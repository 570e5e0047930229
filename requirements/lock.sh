#!/bin/sh
# Resolves pyproject.toml into the lock files: exact versions, every file's hash, no index address.
# For developers, with uv on PATH. Python 3.11 and 3.13 (Debian 12 and 13) share one lock.
set -eu
cd "$(dirname "$0")/.."
lock() {
    out=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command requirements/lock.sh --output-file "requirements/$out" "$@"
}
lock holdfast.txt pyproject.toml requirements/build.in
lock dev.txt pyproject.toml requirements/build.in --extra dev --constraint requirements/holdfast.txt
lock go.txt requirements/go.in
