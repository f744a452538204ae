"""The embedded PostgreSQL: shared by processes, and stopped by the last one, even if others were killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy.engine import URL

from kitsu.db.embedded import DATABASE, EmbeddedError, shared_server
from tests.cli.process import ROOT, Process, server_folder, started, until
from tests.databases import connect

USER = """
import sys
from pathlib import Path
from kitsu.db.embedded import shared_server

with shared_server(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with the files of a server: their creation takes seconds."""
    with server_folder() as folder:
        with shared_server(data_dir_of(folder)):
            pass
        yield folder


@pytest.fixture
def new_data_dir() -> Iterator[Path]:
    """A folder without a server's files."""
    with server_folder() as folder:
        yield data_dir_of(folder)
        kill_servers(data_dir_of(folder))


@pytest.fixture
def data_dir(folder: Path) -> Iterator[Path]:
    """The server's folder; no server runs before and after."""
    data_dir = data_dir_of(folder)
    assert postmasters(data_dir) == []
    yield data_dir
    kill_servers(data_dir)


def data_dir_of(folder: Path) -> Path:
    """Return the server's folder of a Kitsu that runs in this folder."""
    return folder / ".local" / "postgres"


def user_of(data_dir: Path) -> AbstractContextManager[Process]:
    """Return another process, which uses the server until its stdin ends."""
    return started(ROOT, ["-c", USER, str(data_dir)], {})


def leave(user: Process) -> None:
    """Let a process stop using the server."""
    assert user.process.stdin is not None
    user.process.stdin.close()
    user.process.stdin = None
    assert user.process.wait(10) == 0


def postmasters(data_dir: Path) -> list[psutil.Process]:
    """Return the servers that run in this folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if command and command[0].endswith("/postgres") and str(data_dir) in command:
                found.append(process)
    return found


def kill_servers(data_dir: Path) -> None:
    """Stop the servers of a failed test."""
    for left in postmasters(data_dir):
        left.kill()
    until(lambda: not postmasters(data_dir), "the server was gone")


def the_postmaster(data_dir: Path) -> int:
    """Return the process id of the one server that runs."""
    (postmaster,) = postmasters(data_dir)
    return int(postmaster.pid)


def query(url: URL, question: str) -> object:
    """Return the result of a query."""

    async def run() -> object:
        connection = await connect(url)
        try:
            return await connection.fetchval(question)
        finally:
            await connection.close()

    return asyncio.run(run())


def test_server_in_a_new_folder_has_the_database(new_data_dir: Path) -> None:
    with shared_server(new_data_dir) as url:
        assert (url.drivername, url.database) == ("postgresql+asyncpg", DATABASE)
        assert query(url, "SHOW server_encoding") == "UTF8"
        assert query(url, "SELECT lower('ÀЖΩ') || upper('éя')") == "àжωÉЯ"
        assert query(url, "SELECT 'ЖИЗНЬ' ILIKE 'жизнь'") is True
        # It listens only on a socket in its folder, not on the network.
        assert query(url, "SHOW listen_addresses") == ""
        query(url, "CREATE TABLE kept AS SELECT 1 AS n")
    assert postmasters(new_data_dir) == []
    with shared_server(new_data_dir) as url:
        assert query(url, "SELECT n FROM kept") == 1
    assert postmasters(new_data_dir) == []


@pytest.mark.slow
def test_last_user_stops_the_server(data_dir: Path) -> None:
    with user_of(data_dir) as first, user_of(data_dir) as second:
        for user in (first, second):
            user.prints("ready")
        postmaster = the_postmaster(data_dir)
        with shared_server(data_dir) as url:
            assert query(url, "SELECT 1") == 1
            assert the_postmaster(data_dir) == postmaster
        leave(first)
        assert the_postmaster(data_dir) == postmaster
        leave(second)
        assert postmasters(data_dir) == []


def test_two_uses_in_one_process_share_the_server(data_dir: Path) -> None:
    with shared_server(data_dir) as outer:
        with shared_server(data_dir) as inner:
            assert inner == outer
        assert query(outer, "SELECT 1") == 1
    assert postmasters(data_dir) == []


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_server_of_a_killed_process_is_shared(data_dir: Path, signal_number: int) -> None:
    with user_of(data_dir) as owner:
        owner.prints("ready")
        postmaster = the_postmaster(data_dir)
        os.kill(owner.pid, signal_number)
        owner.process.wait(10)
        assert the_postmaster(data_dir) == postmaster
        with shared_server(data_dir) as url:
            assert the_postmaster(data_dir) == postmaster
            assert query(url, "SELECT 1") == 1
    assert postmasters(data_dir) == []


def test_killed_user_is_not_counted(data_dir: Path) -> None:
    with shared_server(data_dir) as url, user_of(data_dir) as other:
        other.prints("ready")
        os.kill(other.pid, signal.SIGKILL)
        other.process.wait(10)
        assert query(url, "SELECT 1") == 1
    assert postmasters(data_dir) == []


@pytest.mark.slow
def test_crashed_server_is_restarted(data_dir: Path) -> None:
    with user_of(data_dir) as owner:
        owner.prints("ready")
        crashed = the_postmaster(data_dir)
        os.kill(crashed, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(crashed), "the server was gone")
        with shared_server(data_dir) as url:
            assert the_postmaster(data_dir) != crashed
            leave(owner)
            assert query(url, "SELECT 1") == 1
    assert postmasters(data_dir) == []


@pytest.fixture(params=["a-python", "a-postgres", "a-zombie", "no-process", "garbage", "empty"])
def stale_pid(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The first line of a crashed server's pid file; the number may be that of another process."""
    namesake = tmp_path / "postgres"
    namesake.symlink_to(sys.executable)
    command = [str(namesake), "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        until(lambda: psutil.Process(process.pid).name() == "postgres", "it had its name")
        match request.param:
            case "a-postgres":
                yield str(process.pid)
                assert process.poll() is None, "the process that has the pid now was stopped"
            case "a-zombie":  # a server whose parent never reads its exit code, as in a container without an init
                process.kill()
                until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "it had ended")
                yield str(process.pid)
            case other:
                yield {"a-python": str(os.getpid()), "no-process": str(2**22 - 1), "garbage": "garbage"}.get(other, "")


def test_stale_pid_file_is_ignored(data_dir: Path, stale_pid: str) -> None:
    rest = f"{data_dir}\n1700000000\n5432\n{data_dir}\n\n  5432001         0\nready   \n"
    (data_dir / "postmaster.pid").write_text(f"{stale_pid}\n{rest}" if stale_pid else "")
    try:
        with shared_server(data_dir) as url:
            assert query(url, "SELECT 1") == 1
    finally:
        (data_dir / "postmaster.pid").unlink(missing_ok=True)
    assert postmasters(data_dir) == []


@pytest.mark.slow
def test_concurrent_starts_share_one_server(new_data_dir: Path) -> None:
    with user_of(new_data_dir) as one, user_of(new_data_dir) as two:
        for user in (one, two):
            user.prints("ready")
        the_postmaster(new_data_dir)
        leave(one)
        leave(two)
    assert postmasters(new_data_dir) == []


def test_server_that_does_not_start_raises_embedded_error(new_data_dir: Path) -> None:
    new_data_dir.mkdir(parents=True)
    (new_data_dir / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedError) as caught, shared_server(new_data_dir):
        pass
    assert str(new_data_dir / "log") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_in_place_of_the_folder_raises_embedded_error(new_data_dir: Path) -> None:
    new_data_dir.parent.mkdir()
    new_data_dir.write_text("")
    with pytest.raises(EmbeddedError, match="postgres"), shared_server(new_data_dir):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for the server")
@pytest.mark.parametrize("mode", [0o700, 0o750, 0o711])
def test_root_is_told_which_folder_the_server_can_not_enter(new_data_dir: Path, mode: int) -> None:
    closed = new_data_dir.parent.parent / "closed"
    closed.mkdir(mode=mode)
    for _ in range(2):
        with pytest.raises(EmbeddedError) as caught, shared_server(closed / ".local" / "postgres"):
            pass
        assert f"chmod go+rx {closed}" in str(caught.value)
        assert closed.stat().st_mode & 0o777 == mode
        assert not (closed / ".local" / "postgres").exists()
    closed.chmod(0o755)
    with shared_server(closed / ".local" / "postgres") as url:
        assert query(url, "SELECT 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for the server")
def test_folder_of_root_with_a_narrow_umask_can_be_entered(new_data_dir: Path) -> None:
    umask = os.umask(0o077)
    try:
        with shared_server(new_data_dir) as url:
            assert query(url, "SELECT 1") == 1
    finally:
        os.umask(umask)
    above = new_data_dir.parent
    assert above.stat().st_mode & 0o777 == 0o755
