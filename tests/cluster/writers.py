"""Clients that write until they are stopped, and note what was acknowledged."""

import threading
import time

import httpx

PASSWORD = "a long enough password"


def registered(address: str, number: int) -> str:
    """Register a user, and return its Authorization header."""
    account = {"email": f"user{number}@example.org", "password": PASSWORD}
    response = httpx.post(f"http://{address}/auth/register", json=account, timeout=30, trust_env=False)
    return f"Bearer {response.json()['access_token']}"


class Writer(threading.Thread):
    """Adds collections, and notes which ones were acknowledged, and when."""

    def __init__(self, address: str, token: str) -> None:
        super().__init__()
        self._address, self._token = address, token
        self.acknowledged: list[tuple[float, str]] = []
        self.statuses: set[int] = set()
        self.is_stopped = False

    def run(self) -> None:
        with httpx.Client(base_url=f"http://{self._address}", timeout=30, trust_env=False) as client:
            while not self.is_stopped:
                response = client.post("/collections", json={"name": "c"}, headers={"Authorization": self._token})
                self.statuses.add(response.status_code)
                if response.status_code == httpx.codes.CREATED:
                    self.acknowledged.append((time.monotonic(), response.json()["id"]))
                else:
                    time.sleep(0.05)
