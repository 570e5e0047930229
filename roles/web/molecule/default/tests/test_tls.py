"""What the handshake allows. "Refused" means the server's alert, from a client able to speak it."""

import ssl

import pytest

OLD = {"tls1": "TLSv1", "tls1_1": "TLSv1.1"}
WEAK = "-cipher 'ALL:@SECLEVEL=0'"


@pytest.mark.parametrize("name", ["", "evil.example", "web.test", "x.api.web.test"])
def test_unknown_name_is_refused(openssl, name):
    """Without a name, with an unknown one: an alert and no certificate."""
    for version in ("tls1_2", "tls1_3"):
        said = openssl(f"-{version}", name=name)
        assert "alert unrecognized name" in said or "alert number 112" in said
        assert "no peer certificate available" in said


def test_unknown_name_is_refused_from_outside(edge):
    for sni in (None, "evil.example", edge.address):
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            edge.connect(sni=sni)


@pytest.mark.parametrize("version", OLD)
def test_old_version_is_refused(openssl, version):
    """The alert is protocol_version; the same client is welcome at the weakened address."""
    said = openssl(f"-{version} {WEAK}")
    assert "alert protocol version" in said
    assert "no peer certificate available" in said
    said = openssl(f"-{version} {WEAK}", address="127.0.0.2")
    assert f"Protocol  : {OLD[version]}" in said or f"New, {OLD[version]}" in said
    assert "subject=" in said


@pytest.mark.parametrize("name", ["panel.web.test", "admin.web.test"])
def test_only_the_named_sites_are_weakened(openssl, name):
    said = openssl(f"-tls1_1 {WEAK}", address="127.0.0.2", name=name)
    assert "no peer certificate available" in said


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_modern_versions(openssl, version):
    said = openssl(f"-{version}")
    assert f"New, TLSv1.{version[-1]}" in said


@pytest.mark.parametrize(
    "cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"]
)
def test_weak_cipher_is_refused(openssl, cipher):
    said = openssl(f"-tls1_2 -cipher '{cipher}:@SECLEVEL=0'")
    assert "alert handshake failure" in said


def test_hybrid_key_exchange_comes_first(openssl, hybrid):
    """Even when the client's own first guess is another group; bookworm's OpenSSL has none."""
    if hybrid:
        for groups in (
            "X25519MLKEM768:X25519",
            "X25519:X25519MLKEM768",
            "P-256:X25519:X25519MLKEM768",
        ):
            said = openssl(f"-tls1_3 -groups {groups}")
            assert "Negotiated TLS1.3 group: X25519MLKEM768" in said
    said = openssl("-tls1_3 -groups P-256:X25519")
    assert "New, TLSv1.3" in said


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_no_resumption(host, version, address):
    """A session that the server gave away, if any, is not taken back."""
    said = host.check_output(
        f"cd /tmp && rm -f test.session && C='openssl s_client -{version} -servername api.web.test"
        f" -connect {address}:443' && (printf 'GET / HTTP/1.0\\r\\nHost: api.web.test\\r\\n\\r\\n';"
        " sleep 1) | $C -ign_eof -sess_out test.session >/dev/null 2>&1;"
        " if [ -s test.session ]; then $C -sess_in test.session </dev/null 2>&1;"
        " else echo no session; $C </dev/null 2>&1; fi; rm -f test.session"
    )
    assert "New, TLSv1." in said
    assert "Reused" not in said


def test_http_2_is_spoken(host):
    said = host.run(
        "openssl s_client -connect 127.0.0.1:443 -servername api.web.test -alpn h2,http/1.1"
        " </dev/null 2>&1 | grep --text ALPN"
    ).stdout
    assert said.strip() == "ALPN protocol: h2"
