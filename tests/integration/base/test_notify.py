"""The notifier against a real mail relay and a real webhook, both with TLS."""

from __future__ import annotations

import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTIFIER = Path(__file__).parents[3] / "roles/base/files/notify.py"
_UNIT = "holdfast-backup.service"


class _Mailbox:
    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_DATA(self, _server, session, envelope):  # noqa: N802 - aiosmtpd's name
        assert session.ssl is not None
        self.mails.append(envelope.content)
        return "250 kept"

    def authenticate(self, _server, _session, _envelope, mechanism, data):
        if mechanism not in {"LOGIN", "PLAIN"}:
            return AuthResult(success=False, handled=False)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"swordfish")


class _Hook(http.server.BaseHTTPRequestHandler):
    status = 204
    bodies: list[bytes]
    headers_seen: list[str | None]

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.headers_seen.append(self.headers["Authorization"])
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", self.path)
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - a followed redirect would come as GET

    def log_message(self, *_args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def relay(server_tls: ssl.SSLContext) -> Iterator[tuple[_Mailbox, int]]:
    mailbox = _Mailbox()
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=port,
        tls_context=server_tls,
        require_starttls=True,
        authenticator=mailbox.authenticate,
    )
    controller.start()
    yield mailbox, port
    controller.stop()


@pytest.fixture
def hook(server_tls: ssl.SSLContext) -> Iterator[tuple[type[_Hook], str]]:
    handler = type("Hook", (_Hook,), {"bodies": [], "headers_seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = server_tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler, f"https://localhost:{server.server_port}/hook"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def config(authority: trustme.CA, tmp_path: Path) -> dict[str, object]:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return {
        "host": "app1",
        "ca_file": str(tmp_path / "ca.pem"),
        "pause": 0,
        "deadline": 5,
        "mail": {
            "relay": "",
            "port": 587,
            "security": "starttls",
            "sender": "holdfast@holdfast.test",
            "recipients": ["ops@holdfast.test", "duty@holdfast.test"],
            "user": "",
            "password_file": "",
        },
        "webhook": {"url": "", "token_file": "", "proxy": ""},
    }


def _mail_to(config, port, **changes):
    config["mail"].update(relay="localhost", port=port, **changes)


def _notify(config, tmp_path):
    file = tmp_path / "notify.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    told = tmp_path / "told"
    told.mkdir(exist_ok=True)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", _NOTIFIER, _UNIT, file],
        env={
            **os.environ,
            "MONITOR_SERVICE_RESULT": "timeout",
            "RUNTIME_DIRECTORY": str(told),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr.splitlines()[0] == f"<2>{_UNIT} failed with the result 'timeout'"
    return done, time.monotonic() - started


def test_without_destinations_the_journal_is_told(config, tmp_path):
    done, _ = _notify(config, tmp_path)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1


def test_mail_and_webhook_say_what_failed(config, relay, hook, tmp_path):
    mailbox, port = relay
    handler, url = hook
    _mail_to(config, port)
    config["webhook"]["url"] = url

    done, _ = _notify(config, tmp_path)

    assert done.returncode == 0, done.stderr
    [mail] = mailbox.mails
    assert b"Subject: [holdfast] app1: holdfast-backup.service failed (timeout)" in mail
    assert b"To: ops@holdfast.test, duty@holdfast.test" in mail
    [body] = handler.bodies
    report = json.loads(body)
    assert set(report) == {"host", "unit", "result", "time"}
    assert (report["host"], report["unit"], report["result"]) == ("app1", _UNIT, "timeout")


def test_a_unit_that_fails_all_the_time_is_told_a_few_times_an_hour(config, relay, tmp_path):
    """And the telling itself never fails for it: that would be one more failed unit."""
    mailbox, port = relay
    _mail_to(config, port)

    tellings = [_notify(config, tmp_path)[0] for _ in range(8)]

    assert [done.returncode for done in tellings] == [0] * 8
    assert len(mailbox.mails) == 6
    assert "told 6 times within the hour" in tellings[-1].stderr
    record = tmp_path / "told" / _UNIT
    an_hour_ago = [float(line) - 3600 for line in record.read_text().splitlines()]
    record.write_text("".join(f"{moment}\n" for moment in an_hour_ago))
    _notify(config, tmp_path)
    assert len(mailbox.mails) == 7


def test_what_cannot_be_counted_is_told(config, relay, tmp_path):
    mailbox, port = relay
    _mail_to(config, port)
    record = tmp_path / "told" / _UNIT
    record.parent.mkdir()
    record.write_text("cut sho")
    _notify(config, tmp_path)
    record.unlink()
    record.mkdir()  # neither read nor written
    done, _ = _notify(config, tmp_path)
    assert done.returncode == 0
    assert len(mailbox.mails) == 2


def test_secrets_come_from_files_and_are_not_shown(config, relay, hook, tmp_path):
    mailbox, port = relay
    handler, url = hook
    for name, secret in (("password", "swordfish"), ("token", "s3cr3t-t0ken")):
        (tmp_path / name).write_text(f"{secret}\n", encoding="utf-8")
    _mail_to(config, port, user="app1", password_file=str(tmp_path / "password"))
    config["webhook"].update(url=url, token_file=str(tmp_path / "token"))

    done, _ = _notify(config, tmp_path)

    assert done.returncode == 0, done.stderr
    assert mailbox.logins == [(b"app1", b"swordfish")]
    assert handler.headers_seen == ["Bearer s3cr3t-t0ken"]
    assert "swordfish" not in done.stderr + done.stdout
    assert "s3cr3t" not in done.stderr + done.stdout


def test_missing_secret_stops_only_its_destination(config, relay, hook, tmp_path):
    mailbox, port = relay
    handler, url = hook
    _mail_to(config, port, user="app1", password_file=str(tmp_path / "absent"))
    config["webhook"]["url"] = url

    done, _ = _notify(config, tmp_path)

    assert done.returncode == 1
    assert "mail about holdfast-backup.service not sent: FileNotFoundError" in done.stderr
    assert not mailbox.mails
    assert len(handler.bodies) == 1


def test_relay_that_hangs_neither_delays_the_webhook_nor_keeps_the_notifier(config, hook, tmp_path):
    """A relay that drips its greeting without end never trips a timeout between two reads."""
    handler, url = hook
    config["webhook"]["url"] = url
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _mail_to(config, listener.getsockname()[1])

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                while not stop.wait(1):
                    try:
                        connection.sendall(b"220-wait\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        done, seconds = _notify(config, tmp_path)
        stop.set()
        thread.join()

    assert done.returncode == 1
    assert len(handler.bodies) == 1
    assert f"webhook about {_UNIT} sent" in done.stderr
    assert f"mail about {_UNIT} not sent: no answer within 5 s" in done.stderr
    assert seconds < 10


@pytest.mark.parametrize("status", [302, 500])
def test_webhook_that_does_not_accept_is_told(config, hook, tmp_path, status):
    """A redirect is no acceptance: it is not followed, and the token goes nowhere else."""
    handler, url = hook
    handler.status = status
    config["webhook"]["url"] = url

    done, _ = _notify(config, tmp_path)

    assert done.returncode == 1
    assert f"webhook about {_UNIT} not sent: HTTPError: HTTP Error {status}" in done.stderr
    assert len(handler.bodies) == 2  # two attempts, and no third request to another place


def test_servers_that_cannot_prove_themselves_get_nothing(config, relay, hook, tmp_path):
    mailbox, port = relay
    handler, url = hook
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    _mail_to(config, port)
    config["webhook"]["url"] = url
    config["ca_file"] = str(tmp_path / "other.pem")

    done, _ = _notify(config, tmp_path)

    assert done.returncode == 1
    assert done.stderr.count("CERTIFICATE_VERIFY_FAILED") == 2
    assert not mailbox.mails
    assert not handler.bodies


def test_relay_without_encryption_gets_nothing(config, tmp_path):
    mailbox = _Mailbox()
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        _mail_to(config, port)
        done, _ = _notify(config, tmp_path)
    finally:
        controller.stop()
    assert done.returncode == 1
    assert "STARTTLS" in done.stderr
    assert not mailbox.mails
