"""Answers of a provider that no sign-in can use: each is refused, or a 503 with a log line."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from flask import Response
from joserfc.jwk import ECKey, OctKey
from structlog.testing import capture_logs

from kitsu.domain.accounts.openid_client import MAX_RESPONSE_BYTES
from tests.accounts import EMAIL, me
from tests.oidc.provider import TestProvider
from tests.oidc.test_sign_in import begin, is_invalid, provider, service, sign_in

__all__ = ["provider", "service"]

DEEP = b"[" * 5000 + b"]" * 5000


def unavailable(response: httpx.Response, logs: list[Any]) -> dict[str, Any]:
    """Check that a response is the 503 of the contract, and return the log line about the provider."""
    assert (response.status_code, response.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    lines: list[dict[str, Any]] = [line for line in logs if line["event"].startswith("sign-in provider")]
    assert len(lines) == 1
    return lines[0]


async def callback_without(service: httpx.AsyncClient, provider: TestProvider) -> dict[str, Any]:
    """Come back from a provider that is of no use, and return the log line."""
    callback = await begin(service)
    with capture_logs() as logs:
        return unavailable(await service.get(callback), logs)


async def test_keys_that_can_not_be_used_are_a_503(service: httpx.AsyncClient, provider: TestProvider) -> None:
    odd: list[list[Any]] = [
        *([], ["text"], [5], [{}], [{"kty": []}], [{"kty": "RSA", "n": 5, "e": "AQAB"}]),
        [{"kty": "RSA", "kid": "first", "n": "!", "e": "AQAB"}],
        [{"kty": "EC", "kid": "first", "crv": "P-1", "x": "AA", "y": "AA"}],
        [{"kty": "EC", "kid": "first", "crv": "P-256", "x": "AA", "y": "AA"}],
        [OctKey.generate_key(256, {"kid": "first"}).as_dict()],
        [ECKey.generate_key("P-256", {"kid": "first", "use": "enc"}).as_dict(private=False)],
    ]
    for keys in odd:
        provider.replies["/keys"] = Response(json.dumps({"keys": keys}))
        line = await callback_without(service, provider)
        assert line["event"] == "sign-in provider has wrong metadata"
        assert line["problem"] == "none of its keys can be used"


async def test_a_key_set_of_another_form_is_a_503(service: httpx.AsyncClient, provider: TestProvider) -> None:
    for body in (b"[]", b'{"keys": {}}', b"{}", b"\xff", b"", b'{"keys": ' + DEEP + b"}"):
        provider.replies["/keys"] = Response(body)
        assert (await callback_without(service, provider))["event"] == "sign-in provider unavailable"


async def test_keys_that_can_not_be_read_do_not_hide_the_right_one(
    service: httpx.AsyncClient, provider: TestProvider
) -> None:
    right = provider.key.as_dict(private=False)
    provider.replies["/keys"] = Response(json.dumps({"keys": [{"kty": "new"}, right | {"use": "enc"}, right]}))
    assert (await sign_in(service)).status_code == 200


def part(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return urlsafe_b64encode(text).rstrip(b"=").decode()


HEADER = {"alg": "RS256", "kid": "first"}


ODD_VALUES: list[Any] = [None, 5, "none", "HS256", {}, ["RS256"]]
ODD_BYTES = [b"", b"\xff", b"{"]
ODD_TOKENS: list[tuple[Any, Any]] = [
    *(({**HEADER, "alg": alg}, {}) for alg in ODD_VALUES),
    *(({**HEADER, "kid": kid}, {}) for kid in ODD_VALUES),
    *(({**HEADER, "crit": crit}, {}) for crit in ([{}], ["exp"], *ODD_VALUES)),
    ({**HEADER, "crit": ["b64"], "b64": False}, {}),
    *((header, {}) for header in (*ODD_BYTES, b'{"alg": "RS256", "x": ' + DEEP + b"}", *ODD_VALUES)),
    *(
        (HEADER, payload)
        for payload in (*ODD_BYTES, b'{"x": ' + DEEP + b"}", b'{"exp": ' + b"9" * 5000 + b"}", *ODD_VALUES)
    ),
]


async def test_an_odd_id_token_with_a_right_signature_is_refused(
    service: httpx.AsyncClient, provider: TestProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = provider.key.private_key
    assert key is not None
    for header, payload in ODD_TOKENS:
        signed = f"{part(header)}.{part(payload)}"
        text = f"{signed}.{part(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"
        monkeypatch.setattr(provider, "id_token", lambda _, text=text: text)
        assert is_invalid(await service.get(await begin(service)))


async def test_a_text_that_is_no_id_token_is_refused(
    service: httpx.AsyncClient, provider: TestProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("", ".", "..", "a.b.c", "é.é.é", "a.b.c.d.e", "\0"):
        monkeypatch.setattr(provider, "id_token", lambda _, text=text: text)
        assert is_invalid(await service.get(await begin(service)))


async def test_a_subject_that_can_not_be_stored_is_refused(service: httpx.AsyncClient, provider: TestProvider) -> None:
    for subject in ("a\0b", "\ud800", "x" * 256, 5, ["subject"]):
        provider.claims = {"sub": subject}
        assert is_invalid(await service.get(await begin(service)))


async def test_an_odd_address_counts_as_not_verified(service: httpx.AsyncClient, provider: TestProvider) -> None:
    odd: list[dict[str, Any]] = [
        *({"email": email} for email in ("a\0@example.org", "\ud800@example.org", "a" * 300, 5, [EMAIL])),
        *({"email": EMAIL, "email_verified": verified} for verified in ODD_VALUES),
    ]
    for claims in odd:
        provider.claims = claims
        response = await sign_in(service)
        assert response.status_code == 400
        assert response.json()["message"].startswith("The provider has not verified this e-mail address")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Response(b'{"id_token": "' + b"a" * MAX_RESPONSE_BYTES + b'"}'), "ResponseTooLarge"),
        (Response(b"a" * 10_000 for _ in iter(int, 1)), "ResponseTooLarge"),
        (Response(b'{"id_token": "a", "x": ' + DEEP + b"}"), "RecursionError"),
        (Response(b"\xff"), "DecodeError"),
        (Response(b'{"id_token": "\\ud800"}'), "DecodeError"),
        (Response(b"[]"), "ValidationError"),
        (Response(b'{"id_token": 5}'), "ValidationError"),
        (Response(b"", 302, {"Location": "/keys"}), "HTTPStatusError"),
        (Response(b"", 302, {"Location": "http://["}), "HTTPStatusError"),
        (Response(b"{}", headers={"Content-Encoding": "gzip"}), "ValidationError"),
        (Response(b"", 503), "HTTPStatusError"),
    ],
    ids=[
        "long",
        "endless",
        "deep",
        "no UTF-8",
        "surrogate",
        "list",
        "number",
        "redirect",
        "odd redirect",
        "gzip",
        "away",
    ],
)
async def test_a_token_response_that_can_not_be_used_is_a_503(
    service: httpx.AsyncClient, provider: TestProvider, reply: Response, error: str
) -> None:
    provider.replies["/token"] = reply
    assert (await callback_without(service, provider))["error"] == error


ODD_ADDRESSES = {
    "token_endpoint": ["http://[", "https://", "https:/token", "https://a.example:99999/", "//a.example"],
    "jwks_uri": ["https://user@a.example/", "https://a.example/#b", "http://a.example/"],
    "userinfo_endpoint": ["", "ftp://127.0.0.1/", "https://a.example\\@b.example/"],
    "authorization_endpoint": [
        *("javascript:alert()", "https://a.example/\r\nSet-Cookie:a=b", "https://a b/", "https://é.example/")
    ],
}


async def test_metadata_with_an_odd_address_is_a_503(service: httpx.AsyncClient, provider: TestProvider) -> None:
    for name, addresses in ODD_ADDRESSES.items():
        for address in addresses:
            provider.replies["/.well-known/openid-configuration"] = metadata_of(provider, **{name: address})
            with capture_logs() as logs:
                line = unavailable(await service.get("/auth/oidc/test/start"), logs)
            assert line["problem"] == f"its {name} is not an https address"


async def test_metadata_of_another_issuer_is_a_503(service: httpx.AsyncClient, provider: TestProvider) -> None:
    provider.replies["/.well-known/openid-configuration"] = metadata_of(provider, issuer="https://evil.example")
    with capture_logs() as logs:
        line = unavailable(await service.get("/auth/oidc/test/start"), logs)
    assert line["problem"] == "its metadata has the issuer 'https://evil.example'"


async def test_an_authorization_endpoint_may_have_a_query(service: httpx.AsyncClient, provider: TestProvider) -> None:
    provider.replies["/.well-known/openid-configuration"] = metadata_of(
        provider, authorization_endpoint=f"{provider.issuer}/authorize?realm=a"
    )
    response = await service.get("/auth/oidc/test/start")
    assert response.headers["location"].startswith(f"{provider.issuer}/authorize?realm=a&response_type=code&")


def metadata_of(provider: TestProvider, **changes: str) -> Response:
    paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
    metadata = {name: f"{provider.issuer}/{path}" for name, path in paths.items()}
    return Response(json.dumps({"issuer": provider.issuer, **metadata, **changes}))


@pytest.mark.parametrize(
    "body", [b"[]", b'{"sub": "another"}', b"\xff", DEEP], ids=["list", "another", "no UTF-8", "deep"]
)
async def test_an_odd_answer_about_the_user_creates_no_account(
    service: httpx.AsyncClient, provider: TestProvider, body: bytes
) -> None:
    provider.sign_in_as("subject")
    provider.replies["/userinfo"] = Response(body)
    response = await service.get(await begin(service))
    assert response.status_code in {400, 503}
    del provider.replies["/userinfo"]
    provider.info = {"sub": "subject", "email": EMAIL, "email_verified": True}
    assert (await me(service, (await sign_in(service)).json())).json()["email"] == EMAIL
