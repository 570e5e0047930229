"""Every answer carries the headers, whatever it answers to; what is not listed is not served."""

import json
import re

import pytest

STATUSES = [400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 421, 422]
STATUSES += [426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 507]
POLICY = {
    "default-src": ["'none'"],
    "frame-ancestors": ["'none'"],
    "form-action": ["'none'"],
    "base-uri": ["'none'"],
}
ADDED = {
    "/page": {"script-src": ["'self'"], "style-src": ["'self'", "https://styles.example"]},
    "/service/": {"img-src": ["'self'"]},
}
LATE_BODY = "POST /service/ HTTP/1.1\r\nHost: panel.web.test\r\nContent-Length: 5\r\n\r\n"

# What nginx itself finds wrong, at ever later steps of reading a request.
MALFORMED = {
    "no HTTP": (b"\x00\x01\x02\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: api.web.test\r\nHost: api.web.test\r\n\r\n", 400),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400),
    "bad path": (b"GET /%zz HTTP/1.1\r\nHost: api.web.test\r\n\r\n", 400),
    "above root": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: api.web.test\r\n\r\n", 400),
    "bad length": (b"GET / HTTP/1.1\r\nHost: api.web.test\r\nContent-Length: x\r\n\r\n", 400),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: api.web.test\r\nContent-Length: 1\r\n%s\r\n\r\n"
        % b"Transfer-Encoding: chunked",
        400,
    ),
    "long path": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: api.web.test\r\n\r\n", 414),
    "long header": (
        b"GET / HTTP/1.1\r\nHost: api.web.test\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        431,
    ),
    "unknown coding": (
        b"POST / HTTP/1.1\r\nHost: api.web.test\r\nTransfer-Encoding: none\r\n\r\n",
        501,
    ),
    "unknown version": (b"GET / HTTP/9.9\r\nHost: api.web.test\r\n\r\n", 505),
    "CONNECT": (b"CONNECT api.web.test:443 HTTP/1.1\r\nHost: api.web.test\r\n\r\n", 400),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: api.web.test\r\n\r\n", 405),
    "large body": (
        b"POST / HTTP/1.1\r\nHost: api.web.test\r\nContent-Length: 99999999\r\n\r\n",
        413,
    ),
}


def policy_of(answer):
    """The Content-Security-Policy as directives with their sources."""
    parts = [part.split() for part in answer.one("content-security-policy").split(";")]
    return {part[0]: part[1:] for part in parts}


def assert_hardened(answer, *, tls=True, added=None):
    """Each header once, with its value; no version; HSTS over TLS and only there."""
    assert policy_of(answer) == {**POLICY, **(added or {})}
    assert answer.one("x-frame-options") == "DENY"
    assert answer.one("x-content-type-options") == "nosniff"
    assert answer.one("x-xss-protection") == "1; mode=block"
    assert answer.one("referrer-policy") == "no-referrer"
    assert "geolocation=()" in answer.one("permissions-policy")
    assert answer.one("cross-origin-opener-policy") == "same-origin"
    assert answer.one("cross-origin-embedder-policy") == "require-corp"
    assert answer.one("cross-origin-resource-policy") == "same-origin"
    assert answer.all("strict-transport-security") == (
        ["max-age=63072000; includeSubDomains"] if tls else []
    )
    assert answer.one("server") == "nginx"
    assert answer.all("x-powered-by") == []
    assert not re.search(rb"nginx/|openssl", answer.body, re.IGNORECASE)


def assert_error_page(answer, site, *, status=None):
    assert answer.one("cache-control") == "no-store"
    assert b"nginx" not in answer.body
    if site in ("api", "enrol"):
        assert answer.one("content-type") == "application/problem+json"
        problem = json.loads(answer.body)
        assert problem["status"] == (status or answer.status)
        assert problem["type"] == "about:blank"
        assert problem["title"] not in ("", "Error")
    else:
        assert answer.one("content-type") == "text/html; charset=utf-8"
        assert answer.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("site", ["enrol", "api", "panel"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "FOO"])
def test_unlisted_path_is_denied(edge, addresses, family, site, method):
    """Default deny, in either family, for every method."""
    other = type(edge)(address=addresses[family])
    for path in ("/", "/.holdfast/error", "/index.html", "/page/x", "/document/", "/status/", "//"):
        answer = other.get(site, path, method=method)
        assert (path, answer.status) == (path, 404)
        assert_hardened(answer)
        assert_error_page(answer, site)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("site", ["api", "panel"])
def test_error_page(edge, site, status):
    """One page per status, all with the headers."""
    answer = edge.get(site, f"/status/{status}")
    assert answer.status == status
    assert_hardened(answer)
    assert_error_page(answer, site)


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("site", ["api", "panel"])
def test_malformed_request(edge, site, name):
    """Requests that never reach a location get the headers, too."""
    request, status = MALFORMED[name]
    answer = edge.send(request.replace(b"api.web", f"{site}.web".encode()), sni=f"{site}.web.test")
    assert answer.status == status
    assert_hardened(answer)
    # Who names no site is answered by none.
    assert_error_page(answer, "" if name == "no Host" else site)


def test_clear_http_on_the_tls_port(edge):
    """Refused with the headers; HSTS is for TLS only (RFC 6797, section 7.2)."""
    answer = edge.get("api", "/document", tls=False, port=443)
    assert answer.status == 400
    assert_hardened(answer, tls=False)
    assert_error_page(answer, "api")


def test_fixed_document(edge):
    """Byte for byte, with the headers of a location that has none of its own."""
    answer = edge.get("api", "/document")
    assert (answer.status, answer.body) == (200, b'{"costs": "$5 \\ \\"quoted\\""}')
    assert answer.one("content-type") == "application/json"
    assert_hardened(answer)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_fixed_document_is_only_read(edge, method):
    answer = edge.get("api", "/document", method=method)
    assert (answer.status, answer.one("allow")) == (405, "GET, HEAD")
    assert_hardened(answer)


def test_page_with_a_policy_of_its_own(edge):
    """It gets what it asked for, and loses none of the other headers."""
    for method in ("GET", "HEAD"):
        answer = edge.get("panel", "/page", method=method)
        assert answer.status == 200
        assert answer.one("content-type") == "text/html; charset=utf-8"
        assert_hardened(answer, added=ADDED["/page"])
    refused = edge.get("panel", "/page", method="PUT")
    assert refused.status == 405
    assert_hardened(refused)


def test_redirect(edge):
    answer = edge.get("panel", "/old")
    assert (answer.status, answer.one("location")) == (308, "https://panel.web.test/page")
    assert_hardened(answer)


@pytest.mark.usefixtures("backend")
class TestService:
    """What stands behind nginx."""

    def test_its_headers_do_not_replace_ours(self, edge):
        for path, status in (("/service/x", 200), ("/service/broken", 500)):
            answer = edge.get("panel", path)
            assert answer.status == status
            assert_hardened(answer, added=ADDED["/service/"])

    def test_it_is_told_who_asks_and_nothing_the_client_made_up(self, edge):
        claims = (
            "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n"
            "Forwarded: for=203.0.113.9\r\nX-Forwarded-Host: evil.example\r\n"
            "X-Forwarded-Proto: http\r\nX-Request-Id: mine\r\n"
        )
        told = json.loads(edge.get("panel", "/service/x", headers=claims).body)
        assert "203.0.113.9" not in json.dumps(told)
        assert told["x-real-ip"] == told["x-forwarded-for"]
        assert told["host"] == "panel.web.test"
        assert told["x-forwarded-proto"] == "https"
        assert "x-forwarded-host" not in told
        assert re.fullmatch("[0-9a-f]{32}", told["x-request-id"])

    def test_methods(self, edge):
        assert edge.get("panel", "/service/x", method="POST", body=b"x").status == 200
        answer = edge.get("panel", "/service/x", method="DELETE")
        assert (answer.status, answer.one("allow")) == (405, "GET, POST")
        assert_hardened(answer)
        assert_error_page(answer, "panel")

    def test_large_body(self, edge):
        assert edge.get("panel", "/service/x", method="POST", body=b"x" * 1024).status == 200
        answer = edge.get("panel", "/service/x", method="POST", body=b"x" * 1025)
        assert answer.status == 413
        assert_hardened(answer)
        assert_error_page(answer, "panel")

    def test_slow_body_ends(self, edge):
        """A body that does not come is not waited for."""
        answer = edge.send(LATE_BODY.encode(), sni="panel.web.test")
        assert answer is None or answer.status == 408


def test_service_that_is_down(edge):
    answer = edge.get("panel", "/dead/x")
    assert answer.status == 502
    assert_hardened(answer)
    assert_error_page(answer, "panel")


@pytest.mark.parametrize("method", ["GET", "DELETE", "FOO"])
@pytest.mark.parametrize("path", ["/", "/page", "/old", "/service/x", "/none"])
def test_admin_is_closed_to_others(edge, path, method):
    """Nobody who is not listed learns so much as which paths there are."""
    answer = edge.get("admin", path, method=method)
    assert answer.status == 403
    assert_hardened(answer)
    assert_error_page(answer, "admin")


def test_admin_is_open_to_the_listed(host):
    """The very request that is refused above, from a listed address."""
    script = (
        "import socket, ssl\n"
        "for source in ('127.0.0.3', '127.0.0.4'):\n"
        "  c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname = False\n"
        "  c.verify_mode = ssl.CERT_NONE\n"
        "  s = socket.create_connection(('127.0.0.1', 443), source_address=(source, 0))\n"
        "  s = c.wrap_socket(s, server_hostname='admin.web.test')\n"
        "  s.sendall(b'GET /page HTTP/1.0\\r\\nHost: admin.web.test\\r\\n\\r\\n')\n"
        "  print(s.recv(100).split()[1].decode())\n"
    )
    assert host.check_output("python3 -c %s", script).split() == ["200", "403"]


@pytest.mark.parametrize("site", ["enrol", "api", "panel", "admin"])
def test_clear_http_only_redirects(edge, site):
    for path in ("/", "/page?a=1", "/document", "/x%0d%0aSet-Cookie:a=b"):
        answer = edge.get(site, path, tls=False)
        assert (answer.status, answer.one("location")) == (301, f"https://{site}.web.test{path}")
        assert_hardened_redirect(answer)


def assert_hardened_redirect(answer):
    assert answer.all("set-cookie") == []
    assert policy_of(answer) == POLICY
    assert answer.all("strict-transport-security") == []
    assert answer.one("server") == "nginx"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: api.web.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x.api.web.test\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n",
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: api.web.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: api.web.test\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    ],
    ids=lambda request: request[:40].decode("latin-1"),
)
def test_clear_http_says_nothing_else(edge, request_):
    """No word to who does not know a name, and no echo of another one."""
    assert edge.send(request_, tls=False) is None


@pytest.mark.parametrize("host_header", ["admin.web.test", "evil.example", "10.0.0.1"])
def test_host_must_be_the_name_of_the_handshake(edge, host_header):
    """One site's handshake is no way to another site."""
    for path in ("/", "/document", "/page"):
        answer = edge.get("api", path, host=host_header)
        assert answer.status == 421
        assert_hardened(answer)


def test_names_are_compared_without_case(edge):
    assert edge.get("api", "/document", host="API.Web.Test", sni="aPi.wEb.tEsT").status == 200
