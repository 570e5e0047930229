"""nginx's configuration as the audit reads it."""

import pytest

from holdfast.audit.sites import UnreadableConfiguration, answering, servers

_TEXT = """
# configuration file /etc/nginx/nginx.conf:
http {
  map "$a $b" $c { default "x; {y}"; '~^(?<n>[0-9]{1,3})$' $n; }
  log_format f escape=json '{"t":"$time"}';
  server {
    listen 443 ssl; listen [::]:443 ssl;
    server_name api.x.test "panel.x.test";   # two { names
    location / { return 404; }
    location = /a { if ($x = "}") { return 403; } }
    location ^~ /b { location /b/c { return 204; } }
    location @named { return 500; }
  }
  server { listen 80 default_server; server_name _; return 444; }
}
"""


def test_names_sockets_and_locations_are_found():
    tls, clear = servers(_TEXT)
    assert tls.names == ("api.x.test", "panel.x.test")
    assert tls.listens == ("443 ssl", "[::]:443 ssl")
    assert (tls.tls, clear.tls) == (True, False)
    assert tls.paths == ("/", "/a", "/b", "/b/c")


def test_a_location_that_no_path_is_known_for_is_not_passed_over():
    (server,) = servers("server { listen 80; location ~ ^/x { return 200; } }")
    with pytest.raises(UnreadableConfiguration, match="exact or a prefix"):
        _ = server.paths


def test_a_socket_of_one_address_takes_its_connections_from_that_of_all():
    ours = servers("""
      server { listen 443 ssl; listen [::]:443 ssl; server_name all; }
      server { listen 192.0.2.1:443 ssl; server_name one; }
      server { listen [2001:db8::1]:443 ssl; server_name six; }
      server { listen 80; server_name clear; }
    """)

    def names(address):
        return [name for server in answering(ours, address) for name in server.names]

    assert names("192.0.2.1") == ["one", "clear"]
    assert names("192.0.2.2") == ["all", "clear"]
    assert names("2001:db8::1") == ["six"]
    assert names("2001:db8::2") == ["all"]


@pytest.mark.parametrize("text", ["server {", "}", "listen 80", 'server_name "x'])
def test_a_torn_configuration_is_refused(text):
    with pytest.raises(UnreadableConfiguration):
        servers(text)
