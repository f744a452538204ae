"""`kitsu sessions` and `kitsu end-sessions`."""

from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.accounts import EMAIL, is_refused, login, me, register
from tests.application import client_of
from tests.cli.invoke import invoked
from tests.databases import column


async def test_sessions_are_listed_and_ended(database: URL, tmp_path: Path) -> None:
    async with client_of(database) as client:
        tokens = [await register(client), (await login(client)).json()]
        other = await register(client, "other@example.org")
        code, output, errors = await invoked(tmp_path, "sessions", EMAIL.upper(), database=database)
        assert code == 0, errors
        lines = output.splitlines()
        assert len(lines) == 2
        assert all("127.0.0.1" in line and "python-httpx" in line for line in lines)
        code, output, errors = await invoked(tmp_path, "end-sessions", EMAIL, database=database)
        assert (code, output) == (0, f"Ended 2 sessions of {EMAIL}.\n"), errors
        assert all([is_refused(await me(client, each)) for each in tokens])
        assert (await me(client, other)).status_code == 200
    assert (await invoked(tmp_path, "sessions", EMAIL, database=database))[1] == f"{EMAIL} is signed in on no device.\n"
    query = "SELECT row(action, user_id, details ->> 'number') FROM admin_actions"
    assert await column(database, query) == [("sessions ended", None, "2")]


@pytest.mark.parametrize("command", ["sessions", "end-sessions"])
async def test_unknown_email_is_an_error(database: URL, tmp_path: Path, command: str) -> None:
    code, output, errors = await invoked(tmp_path, command, "unknown@example.org", database=database)
    assert (code, output) == (1, "")
    assert errors == "Error: No user has the e-mail unknown@example.org.\n"
