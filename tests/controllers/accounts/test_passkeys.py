"""Passkeys through the API: added, used for the second step of a login, removed, and attacks on each."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.accounts import EMAIL, PASSWORD, bearer, login, me, register
from tests.application import client_of
from tests.databases import column, execute
from tests.passkeys import (
    PRESENT,
    Authenticator,
    add_passkey,
    answer_with_passkey,
    base64url,
    from_base64url,
    passkey_options,
)
from tests.second_factors import Clock, answer, challenge_of, protect, send

OTHER = "chika@example.org"
INVALID = "The passkey is invalid or was made for another site: begin again"
WRONG = "The passkey is wrong or was made for another site"
WRONG_CODE = "The code is wrong or was used before"
EXPIRED = "The challenge is invalid or has expired"


@pytest.fixture(scope="module")
async def application(module_database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay."""
    async with client_of(module_database, login_refusal_ms=0) as client:
        yield client


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
def client(application: httpx.AsyncClient, database: URL) -> httpx.AsyncClient:
    return application


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def phone() -> Authenticator:
    return Authenticator()


def is_error(response: httpx.Response, status: int, message: str) -> None:
    code = {400: "VALIDATION_ERROR", 401: "AUTH_ERROR", 404: "NOT_FOUND", 409: "CONFLICT_ERROR"}[status]
    expected = {"code": code, "message": message, "details": None}
    assert (response.status_code, response.json()) == (status, expected)


async def with_passkey(client: httpx.AsyncClient, phone: Authenticator, email: str = EMAIL) -> dict[str, Any]:
    """Register a user with a passkey, and return the tokens and the response to the passkey."""
    tokens = await register(client, email)
    added = await add_passkey(client, tokens, phone)
    assert added.status_code == 201, added.text
    return {"tokens": tokens, **added.json()}


async def test_first_passkey_brings_recovery_codes(client: httpx.AsyncClient, phone: Authenticator) -> None:
    tokens = await register(client)
    added = await add_passkey(client, tokens, phone)
    assert added.status_code == 201
    assert added.headers["cache-control"] == "no-store"
    passkey = added.json()["passkey"]
    assert (passkey["name"], passkey["last_used_at"]) == ("Phone", None)
    assert len(set(added.json()["recovery_codes"])) == 10
    second = await add_passkey(client, tokens, Authenticator(), "Key")
    assert second.json()["recovery_codes"] == []
    state = (await send(client, tokens, "GET")).json()
    assert (state["totp_since"], state["recovery_codes"]) == (None, 10)
    assert state["since"]
    assert [each["name"] for each in state["passkeys"]] == ["Phone", "Key"]


async def test_options_name_the_site_the_user_and_known_passkeys(
    client: httpx.AsyncClient, phone: Authenticator
) -> None:
    user = await with_passkey(client, phone)
    body = {"password": PASSWORD}
    started = await client.post("/auth/second-factor/passkeys/options", json=body, headers=bearer(user["tokens"]))
    options = started.json()["options"]
    assert options["rp"] == {"id": "localhost", "name": "Kitsu"}
    assert (options["user"]["name"], options["attestation"]) == (EMAIL, "none")
    known = {"id": base64url(phone.credential_id), "type": "public-key", "transports": ["internal"]}
    assert options["excludeCredentials"] == [known]
    used = await passkey_options(client, await challenge_of(client))
    assert (used["rpId"], used["allowCredentials"]) == ("localhost", [known])


async def test_login_with_passkey_takes_two_steps(client: httpx.AsyncClient, phone: Authenticator) -> None:
    user = await with_passkey(client, phone)
    first = await login(client)
    assert (first.status_code, first.json()["code"]) == (401, "SECOND_FACTOR_REQUIRED")
    assert first.json()["methods"] == ["passkey", "recovery_code"]
    phone.flags = PRESENT  # the password is the other factor
    second = await answer_with_passkey(client, first.json()["challenge"], phone)
    assert (second.status_code, second.headers["cache-control"]) == (200, "no-store")
    assert (await me(client, second.json())).status_code == 200
    assert (await send(client, user["tokens"], "GET")).json()["passkeys"][0]["last_used_at"]
    assert (await answer(client, await challenge_of(client), user["recovery_codes"][0])).status_code == 200


async def test_passkey_stands_beside_totp(client: httpx.AsyncClient, clock: Clock, phone: Authenticator) -> None:
    user = await protect(client, clock)
    assert (await add_passkey(client, user.tokens, phone)).json()["recovery_codes"] == []
    assert (await login(client)).json()["methods"] == ["totp", "passkey", "recovery_code"]
    assert (await answer(client, await challenge_of(client), clock.code(user.secret))).status_code == 200
    assert (await answer_with_passkey(client, await challenge_of(client), phone)).status_code == 200
    assert (await answer(client, await challenge_of(client), user.recovery_codes[0])).status_code == 200
    assert (await send(client, user.tokens, "DELETE", "/totp", password=PASSWORD)).status_code == 204
    is_error(await send(client, user.tokens, "DELETE", "/totp", password=PASSWORD), 404, "TOTP is not set up")
    assert (await login(client)).json()["methods"] == ["passkey", "recovery_code"]


async def test_last_factor_turns_the_second_step_off(client: httpx.AsyncClient, phone: Authenticator) -> None:
    user = await with_passkey(client, phone)
    added = await add_passkey(client, user["tokens"], Authenticator())
    for passkey in (user["passkey"], added.json()["passkey"]):
        assert (await login(client)).status_code == 401
        path = f"/passkeys/{passkey['id']}"
        wrong = await send(client, user["tokens"], "DELETE", path, password="a wrong password")
        is_error(wrong, 401, "Authentication failed")
        assert (await send(client, user["tokens"], "DELETE", path, password=PASSWORD)).status_code == 204
        is_error(await send(client, user["tokens"], "DELETE", path, password=PASSWORD), 404, "Passkey not found")
    assert (await login(client)).status_code == 200
    state = (await send(client, user["tokens"], "GET")).json()
    assert state == {"since": None, "totp_since": None, "recovery_codes": 0, "passkeys": []}


async def test_turning_off_removes_passkeys(client: httpx.AsyncClient, database: URL, phone: Authenticator) -> None:
    user = await with_passkey(client, phone)
    challenge = await challenge_of(client)
    options = await passkey_options(client, challenge)
    assert (await send(client, user["tokens"], "DELETE", password=PASSWORD)).status_code == 204
    body = {"challenge": challenge, "credential": phone.get(options)}
    is_error(await client.post("/auth/login/second-factor/passkey", json=body), 401, WRONG)
    assert await column(database, "SELECT id FROM passkeys") == []


async def test_recovery_codes_are_renewed_without_a_code(client: httpx.AsyncClient, phone: Authenticator) -> None:
    user = await with_passkey(client, phone)
    renewed = await send(client, user["tokens"], "POST", "/recovery-codes", password=PASSWORD)
    assert (renewed.status_code, len(renewed.json()["recovery_codes"])) == (200, 10)
    is_error(await answer(client, await challenge_of(client), user["recovery_codes"][0]), 401, WRONG_CODE)


async def test_recovery_codes_with_totp_need_a_code(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    is_error(await send(client, user.tokens, "POST", "/recovery-codes", password=PASSWORD), 401, WRONG_CODE)


async def test_recovery_codes_without_second_factor_are_refused(client: httpx.AsyncClient) -> None:
    response = await send(client, await register(client), "POST", "/recovery-codes", password=PASSWORD)
    is_error(response, 400, "There is no second factor: set one up first")


async def test_options_without_passkey_are_missing(client: httpx.AsyncClient, clock: Clock) -> None:
    await protect(client, clock)
    body = {"challenge": await challenge_of(client)}
    is_error(
        await client.post("/auth/login/second-factor/passkey/options", json=body), 404, "The account has no passkey"
    )


FAULTS: dict[str, Callable[[Authenticator], None]] = {
    "another origin": lambda phone: setattr(phone, "origin", "https://evil.example"),
    "a subdomain": lambda phone: setattr(phone, "origin", "http://evil.localhost:3000"),
    "another domain": lambda phone: setattr(phone, "domain", "evil.example"),
    "absent user": lambda phone: setattr(phone, "flags", 0),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_passkey_with_fault_is_not_added(client: httpx.AsyncClient, phone: Authenticator, fault: str) -> None:
    tokens = await register(client)
    FAULTS[fault](phone)
    is_error(await add_passkey(client, tokens, phone), 400, INVALID)
    assert (await login(client)).status_code == 200


@pytest.mark.parametrize("fault", FAULTS)
async def test_passkey_with_fault_does_not_sign_in(client: httpx.AsyncClient, phone: Authenticator, fault: str) -> None:
    await with_passkey(client, phone)
    FAULTS[fault](phone)
    is_error(await answer_with_passkey(client, await challenge_of(client), phone), 401, WRONG)


async def test_answer_is_accepted_once(client: httpx.AsyncClient, phone: Authenticator) -> None:
    await with_passkey(client, phone)
    challenge = await challenge_of(client)
    body = {"challenge": challenge, "credential": phone.get(await passkey_options(client, challenge))}
    path = "/auth/login/second-factor/passkey"
    responses = await asyncio.gather(*(client.post(path, json=body) for _ in range(3)))
    assert sorted(response.status_code for response in responses) == [200, 401, 401]
    is_error(await client.post(path, json={**body, "challenge": await challenge_of(client)}), 401, WRONG)


async def test_copied_authenticator_is_refused(client: httpx.AsyncClient, phone: Authenticator) -> None:
    phone.counts = True
    await with_passkey(client, phone)
    assert (await answer_with_passkey(client, await challenge_of(client), phone)).status_code == 200
    phone.counts = False  # the copy signs with a count that was used
    is_error(await answer_with_passkey(client, await challenge_of(client), phone), 401, WRONG)


async def test_passkey_of_another_user_is_refused(client: httpx.AsyncClient, phone: Authenticator) -> None:
    await with_passkey(client, phone)
    other = Authenticator()
    user = await with_passkey(client, other, OTHER)
    challenge = await challenge_of(client)
    is_error(await answer_with_passkey(client, challenge, other), 401, WRONG)
    phone.user_handle = other.user_handle
    is_error(await answer_with_passkey(client, challenge, phone), 401, WRONG)
    mine = (await send(client, user["tokens"], "GET")).json()["passkeys"][0]["id"]
    theirs = await register(client, "hayasaka@example.org")
    is_error(await send(client, theirs, "DELETE", f"/passkeys/{mine}", password=PASSWORD), 404, "Passkey not found")


async def test_known_credential_is_not_added_again(client: httpx.AsyncClient, phone: Authenticator) -> None:
    user = await with_passkey(client, phone)
    is_error(await add_passkey(client, user["tokens"], phone), 409, "This passkey exists already")
    is_error(await add_passkey(client, await register(client, OTHER), phone), 409, "This passkey exists already")


async def test_challenge_of_new_passkey_works_once_and_for_its_user(
    client: httpx.AsyncClient, phone: Authenticator
) -> None:
    tokens, other = await register(client), await register(client, OTHER)
    path = "/auth/second-factor/passkeys"
    started = (await client.post(f"{path}/options", json={"password": PASSWORD}, headers=bearer(tokens))).json()
    body = {"challenge": started["challenge"], "name": "Phone", "credential": phone.create(started["options"])}
    is_error(await client.post(path, json=body, headers=bearer(other)), 401, EXPIRED)
    assert (await client.post(path, json=body, headers=bearer(tokens))).status_code == 201
    again = {**body, "credential": Authenticator().create(started["options"])}
    is_error(await client.post(path, json=again, headers=bearer(tokens)), 401, EXPIRED)
    # Each purpose has challenges of its own.
    is_error(
        await client.post(path, json={**body, "challenge": await challenge_of(client)}, headers=bearer(tokens)),
        401,
        EXPIRED,
    )
    step = {"challenge": started["challenge"], "credential": phone.get({**started["options"], "rpId": "localhost"})}
    is_error(await client.post("/auth/login/second-factor/passkey", json=step), 401, EXPIRED)


async def test_challenge_of_new_passkey_ends_with_the_password(client: httpx.AsyncClient, phone: Authenticator) -> None:
    tokens = await register(client)
    path = "/auth/second-factor/passkeys"
    started = (await client.post(f"{path}/options", json={"password": PASSWORD}, headers=bearer(tokens))).json()
    change = {"current_password": PASSWORD, "new_password": "another long password"}
    assert (await client.post("/auth/password", json=change, headers=bearer(tokens))).status_code == 204
    body = {"challenge": started["challenge"], "name": "Phone", "credential": phone.create(started["options"])}
    is_error(await client.post(path, json=body, headers=bearer(tokens)), 401, EXPIRED)


async def test_wrong_passkeys_are_limited_with_wrong_codes(client: httpx.AsyncClient, phone: Authenticator) -> None:
    await with_passkey(client, phone)
    challenge = await challenge_of(client)
    phone.flags = 0
    statuses = [(await answer_with_passkey(client, challenge, phone)).status_code for _ in range(3)]
    statuses += [(await answer(client, challenge, "000000")).status_code for _ in range(3)]
    assert statuses == [401, 401, 401, 401, 401, 429]
    phone.flags = PRESENT
    assert (await answer_with_passkey(client, challenge, phone)).status_code == 429


async def test_number_of_passkeys_is_limited(client: httpx.AsyncClient, database: URL, phone: Authenticator) -> None:
    user = await with_passkey(client, phone)
    await execute(
        database,
        "INSERT INTO passkeys (id, user_id, credential_id, public_key, sign_count, name, transports) "
        "SELECT gen_random_uuid(), user_id, int4send(n), public_key, 0, name, transports "
        "FROM passkeys, generate_series(1, 19) n",
    )
    refused = await add_passkey(client, user["tokens"], Authenticator())
    is_error(refused, 409, "An account has at most 20 passkeys: remove one first")


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", ""), ("id", "a"), ("id", "+/=="), ("id", 1), ("type", "password"), ("response", {}), ("response", None)],
)
async def test_malformed_credential_is_refused(
    client: httpx.AsyncClient, phone: Authenticator, field: str, value: Any
) -> None:
    user = await with_passkey(client, phone)
    challenge = await challenge_of(client)
    credential = {**phone.get(await passkey_options(client, challenge)), field: value}
    body = {"challenge": challenge, "credential": credential}
    assert (await client.post("/auth/login/second-factor/passkey", json=body)).status_code == 422
    new = {"challenge": challenge, "name": "Phone", "credential": credential}
    path = "/auth/second-factor/passkeys"
    assert (await client.post(path, json=new, headers=bearer(user["tokens"]))).status_code == 422


@pytest.mark.parametrize("name", ["", " ", "\u200b", "x" * 65])
async def test_passkey_without_name_is_refused(client: httpx.AsyncClient, phone: Authenticator, name: str) -> None:
    response = await add_passkey(client, await register(client), phone, name)
    assert (response.status_code, response.json()["details"][0]["field"]) == (422, "name")


ODD = [b"\x00", b"\xff" * 40, b"{}", b"[" * 9000, b'{"type": 1, "challenge": 2, "origin": 3}', b"\x9b" + b"\xff" * 8]


@pytest.mark.parametrize("content", ODD)
async def test_odd_bytes_are_refused(client: httpx.AsyncClient, phone: Authenticator, content: bytes) -> None:
    user = await with_passkey(client, phone)
    path = "/auth/second-factor/passkeys"
    started = (await client.post(f"{path}/options", json={"password": PASSWORD}, headers=bearer(user["tokens"]))).json()
    for member in ("clientDataJSON", "attestationObject"):
        new = Authenticator().create(started["options"])
        new["response"][member] = base64url(content)
        body = {"challenge": started["challenge"], "name": "Phone", "credential": new}
        is_error(await client.post(path, json=body, headers=bearer(user["tokens"])), 400, INVALID)
    challenge = await challenge_of(client)
    options = await passkey_options(client, challenge)
    for member in ("clientDataJSON", "authenticatorData", "signature"):
        used = phone.get(options)
        used["response"][member] = base64url(content)
        body = {"challenge": challenge, "credential": used}
        is_error(await client.post("/auth/login/second-factor/passkey", json=body), 401, WRONG)


async def test_changed_bytes_are_refused(client: httpx.AsyncClient, phone: Authenticator) -> None:
    await with_passkey(client, phone)
    challenge = await challenge_of(client)
    options = await passkey_options(client, challenge)
    for member in ("authenticatorData", "signature"):
        used = phone.get(options)
        content = from_base64url(used["response"][member])
        used["response"][member] = base64url(content[:-1] + bytes([content[-1] ^ 1]))
        body = {"challenge": challenge, "credential": used}
        is_error(await client.post("/auth/login/second-factor/passkey", json=body), 401, WRONG)
