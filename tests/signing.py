"""Webhooks as Empirical signs them, written down a second time: not by the code that is tested."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

HEADER = "x-webhook-signature"
SECRET = "whsec_dGhlLW5ldy1zZWNyZXQtb2YtYS13ZWJob29rLTI3MQ"
OLD_SECRET = "whsec_dGhlLW9sZC1zZWNyZXQtb2YtYS13ZWJob29rLTE4Mg=="


def secret_of(key: bytes) -> str:
    """Return the secret as it is shown for a key."""
    return f"whsec_{base64.urlsafe_b64encode(key).decode().rstrip('=')}"


def key_of(secret: str) -> bytes:
    """Return the key in a secret."""
    text = secret.removeprefix("whsec_").rstrip("=")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signature(body: bytes, secret: str = SECRET) -> str:
    """Return the signature of a body in hex."""
    return hmac.new(key_of(secret), body, hashlib.sha256).hexdigest()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the headers of a genuine webhook."""
    return {"content-type": "application/json", HEADER: f"sha256={signature(body, secret)}"}


def webhook(payload: Any, secret: str = SECRET) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a genuine webhook."""
    body = json.dumps(payload).encode()
    return body, signed(body, secret)
