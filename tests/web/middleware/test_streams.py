"""Streamed responses: the size of their pieces, their number at once, and clients that read nothing."""

import asyncio
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from structlog.testing import capture_logs

from kitsu.web.middleware import streams

BUNDLE = "/docs/assets/swagger-ui-bundle.js"


def app_of(client: httpx.AsyncClient) -> Any:
    return client._transport.app  # type: ignore[attr-defined] # noqa: SLF001 - httpx reads responses at once


class Reader:
    """A client that reads `pieces` of a response, and the others when `resumed` is set."""

    def __init__(self, app: Any, pieces: int) -> None:
        self._app = app
        self._pieces = pieces
        self.sizes: list[int] = []
        self.resumed = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def read(message: Any) -> None:
            if message.get("more_body"):
                if len(self.sizes) == self._pieces:
                    await self.resumed.wait()
                self.sizes.append(len(message["body"]))
            await send(message)

        await self._app(scope, receive, read)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self), base_url="http://kitsu.test")


async def test_docs_asset_is_sent_in_pieces(client: httpx.AsyncClient) -> None:
    reader = Reader(app_of(client), -1)
    async with reader.client() as guest:
        response = await guest.get(BUNDLE, headers={"Accept-Encoding": "identity"})
    assert response.headers["content-length"] == str(len(response.content)) == str(sum(reader.sizes))
    assert response.headers["content-type"].startswith("text/javascript")
    assert response.headers["cache-control"] == "public, max-age=3600"
    assert "content-disposition" not in response.headers
    assert max(reader.sizes) == streams.PIECE_BYTES
    missing = await client.get("/docs/assets/index.html")
    assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")


async def test_stream_beyond_limit_gets_503(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 1)
    reader = Reader(app_of(client), 1)
    async with reader.client() as guest:
        first = asyncio.create_task(guest.get(BUNDLE))
        await asyncio.sleep(0.1)
        refused = await client.get(BUNDLE)
        assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert "retry-after" in refused.headers
        assert (await client.get("/openapi.json")).status_code == 200
        reader.resumed.set()
        assert (await first).status_code == 200
    assert (await client.get(BUNDLE)).status_code == 200


async def test_stream_of_client_that_reads_nothing_is_interrupted(client: httpx.AsyncClient) -> None:
    reader = Reader(app_of(client), 3)
    with patch.object(streams, "PIECE_TIMEOUT_SECONDS", 0.05), capture_logs() as logs:
        async with reader.client() as guest:
            with pytest.raises(AssertionError):  # httpx misses the end of the response
                await guest.get(BUNDLE)
    assert len(reader.sizes) == 3
    (event,) = [entry for entry in logs if entry["event"] == "response interrupted"]
    assert (event["log_level"], event["reason"]) == ("warning", "client_timeout")
