#!/usr/bin/python3
"""Ansible module: ask a TLS server for paths and compare the statuses."""

from __future__ import annotations

import http.client
import socket
import ssl

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: web_probe
short_description: Ask a TLS server for paths and compare the statuses
description:
  - Asks for each path over a fresh connection, without credentials, and compares the status.
  - The server's certificate is not verified; what matters here is what the server gives away.
options:
  address:
    description: Address to connect to.
    type: str
    default: 127.0.0.1
  port:
    description: Port to connect to.
    type: int
    default: 443
  probes:
    description: What to ask for, and the statuses that are right.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: Server name, in the handshake and in the Host header.
        type: str
        required: true
      path:
        description: Path to ask for.
        type: str
        required: true
      status:
        description: Statuses that are right.
        type: list
        elements: int
        required: true
author: Holdfast
"""

EXAMPLES = """
- name: Assert that the panel denies what it does not have
  web_probe:
    probes:
      - {host: panel.example.org, path: /none, status: [404]}
"""

RETURN = """
statuses:
  description: The status of each probe, in order.
  type: list
  elements: int
  returned: success
"""

_TIMEOUT = 10.0  # seconds


def ask(address: str, port: int, host: str, path: str) -> int:
    """Return the status of GET `path`; raises OSError or HTTPException when there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((address, port), timeout=_TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=host) as stream,
    ):
        stream.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        response = http.client.HTTPResponse(stream)
        response.begin()
        return response.status


def main() -> None:
    """Run the module."""
    probe = {
        "host": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
        "status": {"type": "list", "elements": "int", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 443},
            "probes": {"type": "list", "elements": "dict", "required": True, "options": probe},
        },
        supports_check_mode=True,
    )
    address, port = module.params["address"], module.params["port"]
    statuses, wrong = [], []
    for wanted in module.params["probes"]:
        url = f"https://{wanted['host']}{wanted['path']}"
        try:
            status = ask(address, port, wanted["host"], wanted["path"])
        except (OSError, http.client.HTTPException) as error:
            module.fail_json(
                msg=f"{url} gave no answer on {address}: {error}. See journalctl -u nginx."
            )
        statuses.append(status)
        if status not in wanted["status"]:
            expected = ", ".join(str(code) for code in wanted["status"])
            wrong.append(f"{url} answered {status} instead of {expected}")
    if wrong:
        fix = "Correct web_sites or web_denied, or what stands behind nginx, and run again."
        module.fail_json(msg=f"{'; '.join(wrong)}. {fix}", statuses=statuses)
    module.exit_json(changed=False, statuses=statuses)


if __name__ == "__main__":
    main()
