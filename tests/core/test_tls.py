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

from empirical_provider import InvalidRequestError, NotSentError

if TYPE_CHECKING:
    from empirical_provider.emulator import Emulator
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


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def test_a_bundle_is_trusted(url: str, bundle: Path, ask: Twin) -> None:
    """An authority of the bundle counts, and nothing of the environment is needed for that."""
    ask.settings |= {"base_url": url, "retry_for": 0, "ca_bundle": str(bundle)}
    assert ask("list_environments") == []


def test_a_bundle_takes_the_place_of_all_other_authorities(
    url: str, bundle: Path, ask: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment trusts does not count beside a bundle that lacks it."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    ask.settings |= {"base_url": url, "retry_for": 0, "ca_bundle": str(other)}
    with pytest.raises(NotSentError, match="certificate"):
        ask("list_environments")


def test_the_name_is_verified_with_a_bundle_too(url: str, bundle: Path, ask: Twin) -> None:
    """A certificate of the bundle's authority for another name is not accepted."""
    other_name = url.replace("localhost", "127.0.0.1")
    ask.settings |= {"base_url": other_name, "retry_for": 0, "ca_bundle": str(bundle)}
    with pytest.raises(NotSentError, match="certificate"):
        ask("list_environments")


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "key", "broken"])
def test_a_bad_bundle_is_refused_before_anything_is_sent(
    kind: str, authority: trustme.CA, bundle: Path, ask: Twin, empirical: Emulator
) -> None:
    """What is no file of certificates is refused by name when a client is made, even for http."""
    if kind == "missing":
        bundle.unlink()
    elif kind == "key":
        bundle.write_bytes(authority.private_key_pem.bytes())
    elif kind == "broken":
        bundle.write_bytes(authority.cert_pem.bytes().replace(b"M", b"%"))
    else:
        bundle.write_text({"text": "no certificate", "empty": ""}.get(kind, ""))
    ask.settings["ca_bundle"] = str(bundle.parent if kind == "folder" else bundle)
    with pytest.raises(InvalidRequestError, match="ca_bundle must be the path of a PEM file"):
        ask("list_environments")
    assert empirical.requests == []
