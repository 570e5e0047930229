#!/usr/bin/python3
"""Give the account `vault` of PostgreSQL a new password, which is read from standard input.

The server is sent a SCRAM verifier (RFC 5802), never the password: not even a log that somebody
turned up shows it. Vault takes it with its first login and rotates it at once.
"""

import base64
import hashlib
import hmac
import os
import re
import subprocess
import sys

PSQL = ["/usr/sbin/runuser", "-u", "postgres", "--", "/usr/lib/postgresql/17/bin/psql", "-XAtq"]
PSQL += ["-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-d", "postgres"]
# What SASLprep leaves as it is; and too much to guess.
PASSWORD = re.compile(r"[!-~]{20,128}")


def verifier(password, salt, iterations):
    """The form in which PostgreSQL keeps a password that it does not know."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    coded = [
        base64.b64encode(each).decode()
        for each in (salt, hashlib.sha256(client_key).digest(), server_key)
    ]
    return f"SCRAM-SHA-256${iterations}:{coded[0]}${coded[1]}:{coded[2]}"


def psql(statement):
    """Run one statement as postgres over the local socket; return what it answers."""
    done = subprocess.run(
        PSQL, input=statement, capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode != 0:
        # Whatever psql says may quote the statement.
        sys.exit(
            "The password of vault was not set. Look whether PostgreSQL runs and has the account"
            " (systemctl status postgresql@17-main; site.yml makes it), then try again."
        )
    return done.stdout.strip()


def main():
    """Read, check, set."""
    password = sys.stdin.read().removesuffix("\n")
    if not PASSWORD.fullmatch(password):
        sys.exit(
            "A password for vault comes on standard input: 20 to 128 printable ASCII characters"
            " without spaces, on one line. Let the program that calls this make one."
        )
    iterations = int(psql("SHOW scram_iterations"))
    psql(f"ALTER ROLE vault PASSWORD '{verifier(password, os.urandom(16), iterations)}'")


if __name__ == "__main__":
    main()
