"""T2, S3 and the edge: what the web hosts say in a TLS handshake, to an outsider."""

import re
import shlex

import pytest

from holdfast.audit.outcomes import NotApplicable

_HANDSHAKE_FAILURE = 40
_PROTOCOL_VERSION = 70
_HYBRID = "X25519MLKEM768"
# SSLv3 has no alert for a wrong version; its servers say handshake_failure (RFC 6101, 5.4.2).
_REFUSALS = {
    "SSLv3": {_HANDSHAKE_FAILURE, _PROTOCOL_VERSION},
    "TLSv1": {_PROTOCOL_VERSION},
    "TLSv1.1": {_PROTOCOL_VERSION},
}
_OLD_FLAGS = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1"}
_WEAK_SUITES = {
    "without forward secrecy": "kRSA",
    "without authenticated encryption": "ECDHE+AES:!AESGCM:!AESCCM",
    "without any encryption": "eNULL",
}
# Two connections, the second offering the session of the first. The first one waits a moment after
# its request, because TLS 1.3 hands out tickets after the handshake.
_RESUME = """
session=$(mktemp)
connect() {
    openssl s_client -connect %s -servername %s %s "$@" 2>/dev/null |
        sed -n 's/^\\(New\\|Reused\\), TLS.*/\\1/p'
}
first=$( (printf 'HEAD / HTTP/1.0\\r\\n\\r\\n'; sleep 0.4) | connect -sess_out "$session" )
if [ "$first" = New ] && [ -s "$session" ]; then
    connect -sess_in "$session" </dev/null
elif [ "$first" = New ]; then
    echo nothing to resume
fi
rm "$session"
"""


@pytest.fixture(scope="session")
def handshake(outside, names_at):
    """Connect with OpenSSL's client from outside: handshake(address, options) -> what it says.

    Without options that name a server, the name is that of the API.
    """

    def connect(address, options):
        place = f"[{address}]:443" if ":" in address else f"{address}:443"
        name = "" if "servername" in options else f"-servername {shlex.quote(names_at(address)[0])}"
        return outside.run(
            f"openssl s_client -connect {shlex.quote(place)} {name} {options} </dev/null 2>&1"
        ).stdout

    return connect


@pytest.fixture(scope="session")
def offer(probes, outside):
    """Offer single protocol versions from outside: offer(offers) -> the answers."""
    return lambda offers: probes.run(outside, "hello", offers=offers)


@pytest.fixture(scope="session")
def old_tls_spoken(outside):
    """Prove that OpenSSL's client out there can speak the old versions, against itself."""
    said = outside.run(
        """
        folder=$(mktemp -d) && cd "$folder" || exit 1
        openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -days 1 -subj /CN=probe \
            -batch 2>/dev/null
        openssl s_server -accept 127.0.0.1:44330 -key key -cert crt -quiet \
            -cipher 'ALL:@SECLEVEL=0' -min_protocol TLSv1 >/dev/null 2>&1 &
        server=$!
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            ss -Hltn sport = :44330 | grep -q . && break
            sleep 0.1
        done
        for flag in -tls1 -tls1_1; do
            openssl s_client -connect 127.0.0.1:44330 $flag -cipher 'ALL:@SECLEVEL=0' \
                </dev/null 2>/dev/null | grep -E '^ *Protocol *:'
        done
        kill $server
        rm -r "$folder"
        """
    ).stdout
    spoken = set(re.findall(r"Protocol\s*:\s*(\S+)", said))
    if spoken != {"TLSv1", "TLSv1.1"}:
        message = f"the outsider's OpenSSL cannot speak old TLS, so it proves nothing: {spoken}"
        raise RuntimeError(message)


def _agreed(said):
    """Return the protocol version that a handshake ended with, or None."""
    found = re.search(r"^New, (\S+), Cipher is (?!\(NONE\))", said, re.MULTILINE)
    return found[1] if found else None


def _ending(said):
    """Return why a handshake failed, in OpenSSL's words."""
    errors = re.findall(r"error:[^:]*:[^:]*:[^:]*:([^:]*)", said)
    return "; ".join(errors) or said.strip()[-120:]


def _alert(said):
    found = re.search(r"SSL alert number (\d+)", said)
    return int(found[1]) if found else None


@pytest.mark.control("T2", kind="behavioural", on="web")
def test_old_versions_get_an_alert(target, in_sight, offer, names_at, wanted):
    """SSLv3, TLS 1.0 and TLS 1.1 are refused by an alert, and the same hello with TLS 1.2 is not"""
    # What the inventory allows on the one address for old phones is shown as a weakening.
    loosened = {
        (wanted(target, "web", "web_legacy_tls_address"), version)
        for version in wanted(target, "web", "web_legacy_tls_versions")
    }
    offers = [
        {"address": address, "port": 443, "name": names_at(address)[0], "version": version}
        for address in in_sight
        for version in (*_REFUSALS, "TLSv1.2")
        if (address, version) not in loosened
    ]
    assert offers, "no address of the host was tried"
    problems = []
    for tried, answer in zip(offers, offer(offers), strict=True):
        place = f"{tried['version']} at {tried['address']}"
        if tried["version"] == "TLSv1.2":
            if answer.get("server_hello") != "0x0303":
                problems.append(f"{place}: the probe's own hello is not understood: {answer}")
        elif answer.get("alert", [0, 0])[1] not in _REFUSALS[tried["version"]]:
            problems.append(f"{place}: no alert about the version but {answer}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("T2", kind="behavioural", on="web")
def test_a_client_that_speaks_old_tls_is_refused(
    target, strict_addresses, handshake, old_tls_spoken
):
    """A client proven able to speak TLS 1.0 and 1.1 gets the server's alert"""
    assert old_tls_spoken is None, "the client was not proven able"
    problems = []
    for address in strict_addresses(target):
        for version, flag in _OLD_FLAGS.items():
            said = handshake(address, f"{flag} -cipher ALL:@SECLEVEL=0")
            if _agreed(said) or _alert(said) != _PROTOCOL_VERSION:
                ended = _agreed(said) or f"alert {_alert(said)}, {_ending(said)}"
                problems.append(f"{version} at {address}: {ended}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("T2", kind="behavioural", on="web")
def test_new_versions_are_spoken_in_order(in_sight, handshake):
    """TLS 1.3 is taken when it is offered, TLS 1.2 when it is the best a client has"""
    problems = []
    for address in in_sight:
        for options, expected in (("", "TLSv1.3"), ("-tls1_2", "TLSv1.2")):
            said = handshake(address, options)
            if _agreed(said) != expected:
                problems.append(f"{address} {options}: {_agreed(said) or _ending(said)}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("T2", kind="behavioural", on="web")
def test_the_hybrid_key_exchange_comes_first(in_sight, host, handshake):
    """X25519MLKEM768 is agreed on although the client names a classical group first"""
    if host.system_info.codename == "bookworm":
        raise NotApplicable("Debian 12's OpenSSL has no X25519MLKEM768")
    problems = []
    for address in in_sight:
        said = handshake(address, f"-tls1_3 -groups X25519:{_HYBRID}")
        agreed = re.search(r"^Negotiated TLS1\.3 group: (\S+)", said, re.MULTILINE)
        if not agreed or agreed[1] != _HYBRID:
            problems.append(f"{address}: {agreed[1] if agreed else _ending(said)}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("T2", kind="behavioural", on="web")
def test_weak_suites_of_tls_1_2_are_refused(target, strict_addresses, handshake):
    """TLS 1.2 without forward secrecy or authenticated encryption ends in an alert"""
    problems = []
    for address in strict_addresses(target):
        for what, suites in _WEAK_SUITES.items():
            said = handshake(address, f"-tls1_2 -cipher {shlex.quote(suites + ':@SECLEVEL=0')}")
            if _agreed(said) or _alert(said) != _HANDSHAKE_FAILURE:
                problems.append(f"{address}, {what}: {_agreed(said) or _ending(said)}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("S3", kind="behavioural", on="web")
def test_its_own_authority_vouches_for_each_name(in_sight, handshake, outside, own_root, names_at):
    """Each name's certificate chains to the installation's own root, and to nothing else"""
    path = outside.check_output("mktemp")
    outside.run_expect([0], f"cat > {path} <<'END-OF-ROOT'\n{own_root}\nEND-OF-ROOT")
    problems = []
    try:
        for address in in_sight:
            for name in names_at(address):
                said = handshake(
                    address,
                    f"-servername {shlex.quote(name)} -CAfile {path} -no-CApath -no-CAstore "
                    f"-x509_strict -verify_hostname {shlex.quote(name)} -verify_return_error",
                )
                verified = re.findall(r"Verif(?:y return code|ication): ?(.*)", said)
                if not _agreed(said) or verified[-1:] not in (["0 (ok)"], ["OK"]):
                    problems.append(f"{name} at {address}: {_ending(said)}")
    finally:
        outside.run_expect([0], f"rm {path}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("S3", kind="effective", on="web")
def test_it_serves_its_own_names_only(target, served, own_names):
    """The names that nginx serves are those of the installation, and no others"""
    expected = set(own_names)
    names = {name for server in served(target) for name in server.names} - {"_", ""}
    assert names == expected, (
        f"not of this installation: {sorted(names - expected)}; missing: {sorted(expected - names)}"
    )


@pytest.mark.control("H7", kind="behavioural", on="web")
def test_unknown_names_are_refused(in_sight, handshake, own_names, names_at, domain):
    """A name that does not stand there, and no name at all, get an alert and nothing else"""
    problems = []
    for address in in_sight:
        others = [f"unknown.{domain}", *(n for n in own_names if n not in names_at(address))]
        for options in (*(f"-servername {shlex.quote(n)}" for n in others), "-noservername"):
            said = handshake(address, options)
            if _agreed(said) or _alert(said) is None:
                problems.append(f"{address} {options}: {_agreed(said) or _ending(said)}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("H7", kind="behavioural", on="web")
def test_sessions_are_not_resumed(in_sight, outside, names_at):
    """A session that is offered again is not resumed: checks of certificates would be skipped"""
    problems = []
    for address in in_sight:
        for flag in ("-tls1_2", "-tls1_3"):
            place = f"[{address}]:443" if ":" in address else f"{address}:443"
            said = outside.check_output(_RESUME, place, names_at(address)[0], flag)
            if said not in {"New", "nothing to resume"}:
                problems.append(f"{address} {flag}: {said or 'no second handshake'}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("H7", kind="behavioural", on="web")
def test_versions_are_not_told(target, answers):
    """No answer tells the version of the server"""
    problems = [
        f"{label}: {value}"
        for label, _, answer in answers(target)
        for header, value in answer.get("headers", ())
        if header in {"server", "x-powered-by"} and re.search(r"\d", value)
    ]
    assert not problems, "\n".join(problems[:12])
