"""Sessions as a state machine: a small model predicts the response to any request in any order.

Hypothesis requires synchronous steps: they run in a thread, and their requests on the event loop of the tests. A step
that lets time pass subtracts it from every time in the database.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy.engine import URL

from tests.accounts import bearer
from tests.application import client_of
from tests.databases import execute

T = TypeVar("T")

LEEWAY = 300
LIFETIME = 14 * 86_400
STEPS = [120, 200, 3600, 10 * 86_400]
"""Seconds. No sum of these comes so near to the leeway or the lifetime that the time the test itself takes matters."""
PASSWORD = "a long enough password"
AGE_SESSIONS = "UPDATE auth_sessions SET expires_at = expires_at - interval '{0} s'"
AGE_TOKENS = (
    "UPDATE refresh_tokens SET expires_at = expires_at - interval '{0} s', used_at = used_at - interval '{0} s'"
)


@dataclass
class ModelSession:
    """The expected state of a session."""

    expires_at: int
    generation: int = 1
    is_revoked: bool = False


@dataclass
class ModelToken:
    """A refresh token that was issued, and the access token that came with it."""

    session: ModelSession
    generation: int
    expires_at: int
    refresh_token: str
    access_token: str
    used_at: int | None = None
    child: str | None = None


@dataclass
class Service:
    """The application and the event loop of the machine."""

    client: httpx.AsyncClient
    database: URL
    loop: asyncio.AbstractEventLoop
    same_child: bool
    accounts: int = 0
    statuses: set[tuple[str, int]] = field(default_factory=set)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop of the tests."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def post(self, path: str, body: dict[str, str]) -> httpx.Response:
        """Send a request to a path under /auth."""
        response = self.run(self.client.post(f"/auth/{path}", json=body))
        self.statuses.add((path, response.status_code))
        return response


class SessionMachine(RuleBasedStateMachine):
    """Registers, logs in, refreshes, logs out, reads, and lets time pass."""

    service: ClassVar[Service]

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.emails: list[str] = []
        self.tokens: list[ModelToken] = []

    @initialize()
    def begin(self) -> None:
        """Create the first account."""
        self.register()

    @rule()
    def register(self) -> None:
        """Create an account with its first session."""
        self.service.accounts += 1
        email = f"{self.service.accounts}@example.org"
        response = self.service.post("register", {"email": email, "password": PASSWORD})
        assert response.status_code == 201
        self.emails.append(email)
        self._add_token(response, ModelSession(self.now + LIFETIME))

    @rule(data=st.data())
    def register_again(self, data: st.DataObject) -> None:
        """Register an e-mail of an account, in another case."""
        email = data.draw(st.sampled_from(self.emails)).upper()
        assert self.service.post("register", {"email": email, "password": PASSWORD}).status_code == 400

    @rule(data=st.data(), is_right=st.sampled_from([True, True, False]))
    def login(self, data: st.DataObject, is_right: bool) -> None:
        """Log in on another device."""
        email = data.draw(st.sampled_from(self.emails))
        response = self.service.post(
            "login", {"email": email, "password": PASSWORD if is_right else "a wrong password"}
        )
        assert response.status_code == (200 if is_right else 401)
        if is_right:
            self._add_token(response, ModelSession(self.now + LIFETIME))

    @rule(data=st.data())
    def refresh_any(self, data: st.DataObject) -> None:
        """Refresh any token that was issued."""
        self._refresh(data.draw(st.sampled_from(self.tokens)))

    @rule()
    def refresh_newest(self) -> None:
        """Refresh the token that was issued last, for long chains."""
        self._refresh(self.tokens[-1])

    @precondition(lambda self: any(token.used_at is not None for token in self.tokens))
    @rule(data=st.data())
    def refresh_used(self, data: st.DataObject) -> None:
        """Refresh a used token."""
        self._refresh(data.draw(st.sampled_from([token for token in self.tokens if token.used_at is not None])))

    @rule(token=st.text(max_size=50))
    def refresh_unknown(self, token: str) -> None:
        """Refresh a token that was not issued."""
        assert self.service.post("refresh", {"refresh_token": token}).status_code == 401

    @rule(data=st.data())
    def logout(self, data: st.DataObject) -> None:
        """Log out with any token that was issued: it ends its session."""
        token = data.draw(st.sampled_from(self.tokens))
        assert self.service.post("logout", {"refresh_token": token.refresh_token}).status_code == 204
        token.session.is_revoked = True

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """Use any access token that was issued: it is valid while its session is."""
        token = data.draw(st.sampled_from(self.tokens))
        headers = bearer({"access_token": token.access_token})
        response = self.service.run(self.service.client.get("/users/me", headers=headers))
        is_alive = not token.session.is_revoked and token.session.expires_at > self.now
        assert response.status_code == (200 if is_alive else 401)

    @rule(seconds=st.sampled_from(STEPS))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.now += seconds
        statements = (AGE_SESSIONS.format(seconds), AGE_TOKENS.format(seconds))
        self.service.run(execute(self.service.database, *statements))

    def _refresh(self, token: ModelToken) -> None:
        expected, child = self._predict(token)
        response = self.service.post("refresh", {"refresh_token": token.refresh_token})
        assert response.status_code == expected
        if expected == 200 and child is not None:
            assert response.json()["refresh_token"] == child
        elif expected == 200:
            token.used_at = self.now
            token.session.generation += 1
            token.session.expires_at = self.now + LIFETIME
            self._add_token(response, token.session)
            token.child = self.tokens[-1].refresh_token

    def _predict(self, token: ModelToken) -> tuple[int, str | None]:
        """Return the expected status and, if it is known, the expected child. Revoke the session of a reused token."""
        session = token.session
        if session.is_revoked:
            return 403, None
        if min(session.expires_at, token.expires_at) <= self.now:
            return 401, None
        if token.used_at is None:
            return 200, None
        if token.generation == session.generation - 1:
            if self.service.same_child:
                return 200, token.child
            if self.now - token.used_at <= LEEWAY:
                return 401, None
        session.is_revoked = True
        return 401, None

    def _add_token(self, response: httpx.Response, session: ModelSession) -> None:
        body = response.json()
        token = ModelToken(
            session, session.generation, self.now + LIFETIME, body["refresh_token"], body["access_token"]
        )
        assert all(token.refresh_token != other.refresh_token for other in self.tokens)
        self.tokens.append(token)


async def play(database: URL, *, retry: str, examples: int) -> set[tuple[str, int]]:
    """Run the machine, and report which responses occurred."""
    rules = {"refresh_leeway_seconds": LEEWAY, "refresh_retry": retry, "rate_limit_enabled": False}
    async with client_of(database, login_refusal_ms=0, **rules) as client:
        service = Service(client, database, asyncio.get_running_loop(), same_child=retry == "same")
        limits = settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            database=None,
            derandomize=True,  # a few random examples may have no logout
            suppress_health_check=list(HealthCheck),
        )
        await asyncio.to_thread(
            run_state_machine_as_test, type("Machine", (SessionMachine,), {"service": service}), settings=limits
        )
        return service.statuses


async def test_random_requests_match_the_model(database: URL) -> None:
    seen = await play(database, retry="refuse", examples=20)
    assert {("register", 201), ("login", 200), ("refresh", 200), ("refresh", 401), ("logout", 204)} <= seen


async def test_random_requests_match_the_model_with_repeated_refreshes(database: URL) -> None:
    seen = await play(database, retry="same", examples=10)
    assert {("register", 201), ("refresh", 200), ("logout", 204)} <= seen
