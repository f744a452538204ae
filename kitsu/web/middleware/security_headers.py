"""The security headers of all responses, and those of a rate limit."""

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.domain.rate_limits import tightest_limit

ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY"))
NO_STORE = (b"cache-control", b"no-store")
"""For responses without a `Cache-Control` of their own: accounts, tokens, errors."""
HSTS = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tightest_limit.set(None)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *ALWAYS]
                if all(name != b"cache-control" for name, _ in headers):
                    headers.append(NO_STORE)
                if scope["scheme"] == "https":
                    headers.append(HSTS)
                if (allowance := tightest_limit.get()) is not None:
                    policy = allowance.policy
                    headers += [
                        (b"ratelimit-policy", f'"{policy.name}";q={policy.limit};w={policy.seconds}'.encode()),
                        (b"ratelimit", f'"{policy.name}";r={allowance.remaining};t={allowance.reset_seconds}'.encode()),
                    ]
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, send_with_headers)
