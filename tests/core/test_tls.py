"""A service over TLS whose certificate is not one of the public authorities'."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from empirical_provider import NotSentError

if TYPE_CHECKING:
    from tests.core.conftest import Twin


class NoEnvironments(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"data": {"environments": []}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def url(authority: trustme.CA) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), NoEnvironments) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_authority_of_the_environment_is_trusted(
    url: str, authority: trustme.CA, ask: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE counts for a service on this machine as for any other."""
    ask.settings |= {"base_url": url, "retry_for": 0}
    with pytest.raises(NotSentError, match="certificate"):
        ask("list_environments")

    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    assert ask("list_environments") == []
