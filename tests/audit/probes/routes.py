"""Says to which addresses this host has no way. Nothing is sent.

stdin of python3; argument: JSON {"addresses": []}. Prints JSON {address: why there is no way, or
""}.
"""

import ipaddress
import json
import socket
import sys


def why_not(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as route:
            route.connect((address, 9))
            own = ipaddress.ip_address(route.getsockname()[0].partition("%")[0])
    except OSError as error:
        return error.strerror or str(error)
    if own.is_loopback and not ipaddress.ip_address(address).is_loopback:
        return "no address of its own to send from"
    return ""


print(json.dumps({address: why_not(address) for address in json.loads(sys.argv[1])["addresses"]}))
