"""An OpenID provider over HTTP, on Flask. It checks the client, the redirect address and PKCE; codes work once."""

import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from json import JSONEncoder
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, redirect, request
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

CLIENT_ID, CLIENT_SECRET = "kitsu", "a secret with / and %"

FORM = """
<!doctype html><title>Provider</title>
<form method="post"><button>Allow</button><button name="error" value="access_denied">Cancel</button></form>
"""


@dataclass
class TestProvider:
    """What the provider answers. Tests change it."""

    __test__ = False

    issuer: str = ""
    redirect_uri: str = ""
    user: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    """Claims of ID tokens that replace the right ones; None removes one."""
    header: dict[str, Any] = field(default_factory=dict)
    replies: dict[str, Response] = field(default_factory=dict)
    """Responses that replace the right ones, by path."""
    info: dict[str, Any] = field(default_factory=dict)
    """What `/userinfo` answers."""
    has_form: bool = False
    """Whether the user has to press a button."""
    error: str | None = None
    status: int | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    """Not set: the provider does not answer."""
    asked: threading.Event = field(default_factory=threading.Event)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first"}))
    signing_key: Any = None
    key_fetches: int = 0
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)

    def sign_in_as(self, subject: str, email: str | None = None, *, verified: bool = True) -> None:
        self.user = {"sub": subject} | ({"email": email, "email_verified": verified} if email else {})

    def answer(self, query: dict[str, str], error: str | None) -> Any:
        """Send the browser back to the client of a request, with a code unless there is an error."""
        if error:
            return redirect(f"{query['redirect_uri']}?{urlencode({'error': error, 'state': query['state']})}")
        code = token_urlsafe()
        self.codes[code] = query
        return redirect(f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}")

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce}
        claims |= self.user | self.claims
        header = {"alg": "RS256", "kid": self.key.kid} | self.header
        right = {name: value for name, value in claims.items() if value is not None}
        algorithms = [header["alg"]]
        return jwt.encode(header, right, self.signing_key or self.key, algorithms=algorithms, encoder_cls=_AsciiEncoder)


class _AsciiEncoder(JSONEncoder):
    """Escapes lone surrogates, which can't be sent otherwise."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"ensure_ascii": True}))


@contextmanager
def provider_running() -> Iterator[TestProvider]:
    """Run a provider until the context ends."""
    provider = TestProvider()
    provider.gate.set()
    server = make_server("127.0.0.1", 0, _app(provider), threaded=True)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield provider
    finally:
        provider.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _app(provider: TestProvider) -> Flask:
    app = Flask("provider")

    @app.before_request
    def fail() -> Response | None:
        provider.asked.set()
        provider.gate.wait()
        return Response(status=provider.status) if provider.status else provider.replies.get(request.path)

    @app.get("/.well-known/openid-configuration")
    def metadata() -> Response:
        return jsonify(
            issuer=provider.issuer,
            authorization_endpoint=f"{provider.issuer}/authorize",
            token_endpoint=f"{provider.issuer}/token",
            jwks_uri=f"{provider.issuer}/keys",
            userinfo_endpoint=f"{provider.issuer}/userinfo",
        )

    @app.get("/keys")
    def keys() -> Response:
        provider.key_fetches += 1
        return jsonify(KeySet([provider.key]).as_dict(private=False))

    @app.get("/userinfo")
    def info() -> Response:
        assert request.headers["authorization"] == "Bearer access"
        return jsonify(provider.info)

    @app.get("/authorize")
    def authorize() -> Any:
        query = request.args.to_dict()
        is_right = (
            query["response_type"] == "code"
            and query["client_id"] == CLIENT_ID
            and query["redirect_uri"] == provider.redirect_uri
            and query["code_challenge_method"] == "S256"
            and "openid" in query["scope"].split()
        )
        if not is_right:
            return Response("wrong request", status=400)
        return Response(FORM, mimetype="text/html") if provider.has_form else provider.answer(query, provider.error)

    @app.post("/authorize")
    def submit() -> Any:
        return provider.answer(request.args.to_dict(), request.form.get("error"))

    @app.post("/token")
    def token() -> Any:
        form = request.form.to_dict()
        provider.forms.append(form)
        asked = provider.codes.pop(form.get("code", ""), None)
        sent = request.authorization
        digest = sha256(form.get("code_verifier", "").encode()).digest()
        is_right = (
            sent is not None
            and asked is not None
            and (sent.username, sent.password) == (CLIENT_ID, "a%20secret%20with%20%2F%20and%20%25")
            and form.get("redirect_uri") == asked["redirect_uri"]
            and urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        )
        if asked is None or not is_right:
            return jsonify(error="invalid_grant"), 400
        return jsonify(id_token=provider.id_token(asked["nonce"]), access_token="access", token_type="Bearer")

    return app
