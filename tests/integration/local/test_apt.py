"""An image is made through the machine's own proxy."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.integration.local.conftest import MAKE_IMAGE


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """The address of a proxy that refuses everything, and what it was asked for."""
    asked: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_the_machines_proxy_is_used(proxy: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = proxy
    settings = tmp_path / "apt.conf"
    settings.write_text(f'Acquire::http::Proxy "{address}";\n')
    done = subprocess.run(
        [sys.executable, "-c", MAKE_IMAGE],
        env={**os.environ, "APT_CONFIG": str(settings)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert asked, done.stderr
    assert all(url.startswith("http://") for url in asked)
