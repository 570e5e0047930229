#!/usr/bin/python3
"""What systemd asks of PostgreSQL beside starting it. Run as postgres.

wait PATH...   wait a minute until every file can be read, and say which is missing; then give up
reload         reload, wait until it is in force, and fail when PostgreSQL keeps the old: it would
               say so in its log only
"""

import json
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time

PSQL = ["/usr/lib/postgresql/17/bin/psql", "-XAtq", "-h", "/run/postgresql", "-d", "postgres"]
PATIENCE_WAIT = 60.0  # seconds
PATIENCE_RELOAD = 20.0
# PostgreSQL's own words for what waits for a restart; that is no mistake.
QUESTION = """
SELECT json_build_object(
  'loaded', extract(epoch FROM pg_conf_load_time()),
  'mistakes', (
    SELECT coalesce(json_agg(format('%s, line %s: %s', file, line, error)), '[]') FROM (
      SELECT sourcefile, sourceline, error FROM pg_file_settings
        WHERE error <> 'setting could not be applied'
      UNION ALL SELECT file_name, line_number, error FROM pg_hba_file_rules WHERE error <> ''
      UNION ALL SELECT file_name, line_number, error FROM pg_ident_file_mappings WHERE error <> ''
    ) AS wrong (file, line, error)),
  'address', split_part(current_setting('listen_addresses'), ',', 1),
  'port', current_setting('port')::int,
  'certificate', current_setting('ssl_cert_file'))
"""


def tell(status):
    """Say in `systemctl status` what this waits for."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            # An abstract name is written with @.
            stream.sendto(f"STATUS={status}".encode(), address.replace("@", "\0", 1))


def missing(paths):
    """Which of the files this account cannot read."""
    return [path for path in paths if not os.access(path, os.R_OK)]


def wait(paths):
    """Wait for the files; return the exit status."""
    deadline = time.monotonic() + PATIENCE_WAIT
    said = []
    while lacking := missing(paths):
        text = f"waits for its TLS material, which postgres cannot read: {', '.join(lacking)}"
        if lacking != said:
            print(f"PostgreSQL {text}", flush=True)
            tell(text)
            said = lacking
        if time.monotonic() > deadline:
            print(
                "There is still none; systemd tries again. Look at what brings it: systemctl list-"
                "units 'holdfast-agent-*' 'holdfast-tls-*'; a sealed Vault needs its operators"
                " (holdfast vault status).",
                file=sys.stderr,
            )
            return 1
        time.sleep(0.5)
    return 0


def ask():
    """What the running server has loaded, and what it finds wrong in its files."""
    done = subprocess.run(
        PSQL, input=QUESTION, stdout=subprocess.PIPE, text=True, check=True, timeout=30
    )
    return json.loads(done.stdout)


def presented(address, port):
    """The certificate that the server shows, in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whether it is the right one is compared byte by byte.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=10) as plain:
        plain.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest
        if plain.recv(1) != b"S":
            return b""
        with context.wrap_socket(plain) as stream:
            return stream.getpeercert(binary_form=True)


def first_certificate(path):
    """The first certificate of a PEM file, in DER; the file may hold its key, too."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = pathlib.Path(path).read_text()
    return ssl.PEM_cert_to_DER_cert(begin + text.partition(begin)[2].partition(end)[0] + end)


def reload():
    """Signal the server, see what it made of it; return the exit status."""
    before = ask()["loaded"]
    os.kill(int(os.environ["MAINPID"]), signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_RELOAD
    answer = ask()
    while answer["loaded"] == before and not answer["mistakes"] and time.monotonic() < deadline:
        time.sleep(0.1)
        answer = ask()
    wrong = answer["mistakes"]
    if not wrong and answer["loaded"] == before:
        wrong = ["it has not read its files again"]
    elif not wrong:
        shown = presented(answer["address"], answer["port"])
        if shown != first_certificate(answer["certificate"]):
            wrong = [f"it does not show the certificate in {answer['certificate']}"]
    for mistake in wrong:
        print(
            f"PostgreSQL keeps what it had: {mistake}. Put that right and reload again.",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["reload"]:
        sys.exit(reload())
    if sys.argv[1:2] == ["wait"] and sys.argv[2:]:
        sys.exit(wait(sys.argv[2:]))
    sys.exit(__doc__)
