"""H11: certificates of servers are renewed in time, and what was renewed is in use."""

import re
from datetime import UTC, datetime, timedelta

import pytest

_LONGEST = {"vault": timedelta(days=90)}
_THREE_DAYS = timedelta(hours=72)
# Renewal comes at a third of what is left, and for Vault's own with a month left.
_LEAST = 0.25
# By service: where it is served, as OpenSSL's client is told.
_SERVED = {
    "web": "-connect {address}:443 -servername api.{domain}",
    "postgresql": "-connect {address}:5432 -starttls postgres",
    "vault": "-connect {address}:8200",
}
_DATES = "openssl x509 -noout -startdate -enddate -dateopt iso_8601"
_PRINT = "openssl x509 -noout -fingerprint -sha256"


@pytest.fixture
def issued(target):
    """The certificates of the host: file by service."""
    listed = target.variables.get("vault_agent_services") or ()
    found = {
        one["service"]: f"/run/holdfast/{one['service']}/tls.pem"
        for one in listed
        if one["on"] in target.groups and one.get("names")
    }
    for one in target.variables.get("certificates_servers") or ():
        found[one["service"]] = f"/run/holdfast/{one['service']}/tls.crt"
    return found


@pytest.mark.control("H11", kind="effective")
def test_certificates_are_young(host, issued):
    """More than a quarter of a certificate's life is left, and its life is short"""
    now = datetime.now(UTC)
    problems = []
    for service, path in issued.items():
        said = re.findall(r"=(.*)", host.check_output(f"{_DATES} -in {path}"))
        begin, end = (datetime.fromisoformat(one.strip().replace("Z", "+00:00")) for one in said)
        # Issued a moment in the past, for clocks that do not quite agree.
        if end - begin > _LONGEST.get(service, _THREE_DAYS) + timedelta(hours=1):
            problems.append(f"{path} lives for {(end - begin).days} days")
        if (end - now) / (end - begin) < _LEAST:
            problems.append(f"{path} ends at {end:%F %R} UTC and was not renewed")
    assert not problems, "\n".join(problems)


@pytest.mark.control("H11", kind="effective")
def test_what_is_served_is_what_was_issued(target, host, issued, domain):
    """Each service shows the certificate that stands in its folder"""
    problems = []
    for service in issued.keys() & _SERVED.keys():
        wanted = host.check_output(f"{_PRINT} -in {issued[service]}")
        for address in target.addresses:
            place = f"[{address}]" if ":" in address else address
            options = _SERVED[service].format(address=place, domain=domain)
            served = host.run(
                f"openssl s_client {options} </dev/null 2>/dev/null | {_PRINT}"
            ).stdout
            if served.strip() != wanted:
                problems.append(f"{service} at {address} shows another certificate, or none")
    assert not problems, "\n".join(problems)
