"""A service behind nginx that shows what it was sent and answers with headers it should not set."""

import http.server
import json
import time


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        if self.path.endswith("/slow"):
            time.sleep(8)
        self.send_response(500 if self.path.endswith("/broken") else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src *")
        self.send_header("Strict-Transport-Security", "max-age=0")
        self.send_header("X-Frame-Options", "ALLOWALL")
        self.send_header("X-Powered-By", "backend/1.2.3")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - the names are the base class's


http.server.ThreadingHTTPServer(("127.0.0.1", 8099), _Handler).serve_forever()
