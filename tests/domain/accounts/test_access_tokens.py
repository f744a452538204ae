"""Access tokens: every token but a valid one of an active session gets 401, and never an error."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.accounts import is_refused, login, me, register
from tests.application import Applications, client_of
from tests.databases import copy_of, execute

KEY = "k" * 32
LEEWAY = 10
CLAIMS = ("exp", "iat", "sub", "jti", "sid", "typ")
HEADER = {"alg": "HS256", "typ": "JWT"}


@pytest.fixture(scope="module")
async def client(server: URL, template: URL) -> AsyncIterator[httpx.AsyncClient]:
    """The application with a known key, on a database that the tests share."""
    async with copy_of(template, server) as url, client_of(url, secret_key=KEY, login_refusal_ms=0) as client:
        yield client


@pytest.fixture(scope="module")
async def claims(client: httpx.AsyncClient) -> dict[str, Any]:
    """The claims of a valid token."""
    return payload_of((await register(client))["access_token"])


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def payload_of(token: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return payload


def signed(payload: Any, header: Any = None, *, key: str = KEY, algorithm: str = "sha256") -> str:
    """Return a token signed with the key; bytes are used unchanged."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header or HEADER, payload)]
    text = ".".join(encoded(part) for part in parts)
    return f"{text}.{encoded(hmac.digest(key.encode(), text.encode(), algorithm))}"


async def show(client: httpx.AsyncClient, token: str) -> httpx.Response:
    """Return the response to a request with a token."""
    return await me(client, {"access_token": token})


async def test_token_carries_its_claims_and_nothing_else(client: httpx.AsyncClient, claims: dict[str, Any]) -> None:
    assert claims.keys() == set(CLAIMS)
    assert claims["exp"] - claims["iat"] == 30 * 60
    assert (await show(client, signed(claims))).json()["id"] == claims["sub"]
    other = payload_of((await login(client)).json()["access_token"])
    assert other["sub"] == claims["sub"]
    assert other["jti"] != claims["jti"]
    assert other["sid"] != claims["sid"]


async def test_token_of_a_machine_with_another_clock_is_valid_until_it_ends(
    client: httpx.AsyncClient, claims: dict[str, Any]
) -> None:
    issued = int(time.time())
    for seconds in (-30, 30, 300):
        token = signed({**claims, "iat": issued + seconds, "exp": issued + seconds + 30 * 60})
        assert (await show(client, token)).status_code == 200
    # The clock of the machine that reads the token decides about its end.
    for end, status in ((-LEEWAY + 5, 200), (-LEEWAY - 1, 401)):
        token = signed({**claims, "iat": issued + 30, "exp": time.time() + end})
        assert (await show(client, token)).status_code == status
    assert is_refused(await show(client, signed({**claims, "nbf": issued + 60})))


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "HS384", "HS512", "RS256", "ES256", "EdDSA", "", "x"]
)
async def test_token_of_another_algorithm_is_refused(
    client: httpx.AsyncClient, claims: dict[str, Any], algorithm: str
) -> None:
    header = {"alg": algorithm, "typ": "JWT"}
    for digest in ("sha256", "sha384", "sha512"):
        assert is_refused(await show(client, signed(claims, header, algorithm=digest)))
    unsigned = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}."
    assert is_refused(await show(client, unsigned))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_token_of_another_algorithm_than_the_setting_is_refused(
    applications: Applications, algorithm: str
) -> None:
    async with applications.client_of(secret_key="k" * 64, algorithm=algorithm, login_refusal_ms=0) as client:
        token = (await register(client))["access_token"]
        assert (await show(client, token)).status_code == 200
        assert is_refused(await show(client, signed(payload_of(token), key="k" * 64)))


async def test_token_with_changed_payload_is_refused(client: httpx.AsyncClient, claims: dict[str, Any]) -> None:
    other = payload_of((await register(client, f"{uuid4()}@example.org"))["access_token"])
    head, _, signature = signed(claims).split(".")
    for change in ({"sub": other["sub"]}, {"sid": other["sid"]}, {"exp": claims["exp"] + 1}, {"role": "admin"}):
        assert is_refused(
            await show(client, f"{head}.{encoded(json.dumps({**claims, **change}).encode())}.{signature}")
        )


async def test_token_with_session_of_another_user_is_refused(client: httpx.AsyncClient, claims: dict[str, Any]) -> None:
    other = payload_of((await register(client, f"{uuid4()}@example.org"))["access_token"])
    assert is_refused(await show(client, signed({**claims, "sid": other["sid"]})))
    assert is_refused(await show(client, signed({**claims, "sub": other["sub"]})))


async def test_token_signed_with_another_key_is_refused(client: httpx.AsyncClient, claims: dict[str, Any]) -> None:
    for key in ("", "l" * 32, "k" * 31, "k" * 33):
        assert is_refused(await show(client, signed(claims, key=key)))


WRONG_CLAIMS: tuple[Any, ...] = (
    None,
    "",
    "x",
    [],
    {},
    True,
    -1,
    1e308,
    float("inf"),
    float("nan"),
    10**400,
    "\0",
    "\ud800",
)


@pytest.mark.parametrize("claim", CLAIMS)
async def test_token_with_missing_or_wrong_claim_is_refused(
    client: httpx.AsyncClient, claims: dict[str, Any], claim: str
) -> None:
    others = {name: content for name, content in claims.items() if name != claim}
    assert is_refused(await show(client, signed(others)))
    for value in WRONG_CLAIMS:
        response = await show(client, signed({**others, claim: value}))
        # `jti` may be any text; `exp` may be any time in the future, `iat` any in the past.
        is_harmless = claim == "jti" and isinstance(value, str)
        is_harmless |= claim in {"exp", "iat"} and response.status_code == 200
        if not is_harmless or value is None:
            assert response.status_code == 401, value
            assert is_refused(response)


@pytest.mark.parametrize("claim", ["sub", "sid"])
async def test_token_with_unknown_id_is_refused(client: httpx.AsyncClient, claims: dict[str, Any], claim: str) -> None:
    for value in (str(uuid4()), "00000000-0000-0000-0000-000000000000", claims[claim] + "0", "1", f"{claims[claim]};"):
        assert is_refused(await show(client, signed({**claims, claim: value})))


@pytest.mark.parametrize("kind", ["refresh", "Access", "access ", "bearer"])
async def test_token_of_another_type_is_refused(client: httpx.AsyncClient, claims: dict[str, Any], kind: str) -> None:
    assert is_refused(await show(client, signed({**claims, "typ": kind})))


async def test_expiry_has_ten_seconds_of_leeway(client: httpx.AsyncClient, claims: dict[str, Any]) -> None:
    now = int(time.time())
    past = {**claims, "iat": now - 3600}
    assert (await show(client, signed({**past, "exp": now - LEEWAY // 2}))).status_code == 200
    for late in (LEEWAY + 1, 60, 10**6, now):
        assert is_refused(await show(client, signed({**past, "exp": now - late})))


@pytest.mark.parametrize(
    "token",
    [
        *(
            "x",
            ".",
            "..",
            "...",
            "a.b.c",
            "a.b.c.d.e",
            "=.=.=",
            "\xff\xfe",
            "null",
            "{}",
            "eyJ",
            "🦊".encode().decode("latin-1"),
        ),
        "a" * 50_000,
        ".".join(["a" * 20_000] * 3),
        "." * 50_000,
    ],
    ids=lambda token: f"{token[:8]!a} {len(token)}",
)
async def test_malformed_token_is_refused(client: httpx.AsyncClient, token: str) -> None:
    headers = {b"Authorization": f"Bearer {token}".encode("latin-1")}
    assert is_refused(await client.get("/users/me", headers=headers))


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{",
        b"\xff",
        b"[" * 20_000,
        b'{"a":' * 20_000,
        b'{"exp": 1' + b"0" * 5000 + b"}",
    ],
    ids=lambda part: f"{part[:8]!a} {len(part)}",
)
async def test_token_with_malformed_header_or_payload_is_refused(
    client: httpx.AsyncClient, claims: dict[str, Any], part: bytes
) -> None:
    whole = signed(claims).split(".")
    assert is_refused(await show(client, signed(part)))
    assert is_refused(await show(client, ".".join([encoded(part), *whole[1:]])))
    assert is_refused(await show(client, ".".join([whole[0], encoded(part), whole[2]])))
    assert is_refused(await show(client, ".".join([*whole[:2], encoded(part)])))


@pytest.mark.parametrize(
    "change",
    [
        {"alg": None},
        {"alg": []},
        {"alg": {}},
        {"alg": 1},
        {"alg": ["HS256"]},
        {"kid": 1},
        {"b64": False},
        {"crit": ["x"]},
    ],
    ids=str,
)
async def test_token_with_another_header_is_refused(
    client: httpx.AsyncClient, claims: dict[str, Any], change: dict[str, Any]
) -> None:
    assert is_refused(await show(client, signed(claims, {**HEADER, **change})))


@pytest.mark.parametrize(
    "header", ["", " ", "Bearer", "Bearer  ", "Basic {}", "{}", "Token {}", "Bearer{}", "Bearer {} x"]
)
async def test_malformed_authorization_header_is_refused(
    client: httpx.AsyncClient, claims: dict[str, Any], header: str
) -> None:
    value = header.format(signed(claims))
    assert is_refused(await client.get("/users/me", headers={"Authorization": value}))


@pytest.mark.parametrize("spelling", ["bearer", "BEARER", "Bearer"])
async def test_bearer_scheme_in_any_case_is_accepted(
    client: httpx.AsyncClient, claims: dict[str, Any], spelling: str
) -> None:
    headers = {"Authorization": f"{spelling} {signed(claims)}"}
    assert (await client.get("/users/me", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users SET is_active = false",
        "DELETE FROM users",
        "DELETE FROM auth_sessions",
        "UPDATE auth_sessions SET revoked_at = now()",
        "UPDATE auth_sessions SET expires_at = now()",
    ],
)
async def test_token_of_deleted_user_or_ended_session_is_refused(
    applications: Applications, accountless: URL, statement: str
) -> None:
    async with applications.client_of(secret_key=KEY) as client:
        tokens = await register(client)
        assert (await me(client, tokens)).status_code == 200
        await execute(accountless, statement)
        assert is_refused(await me(client, tokens))
