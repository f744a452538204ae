"""`kitsu shell` and `kitsu dbshell`."""

from pathlib import Path

from sqlalchemy.engine import URL

from tests.cli.invoke import invoke
from tests.cli.process import kitsu


def test_shell_runs_code_with_the_models_and_a_session(catalogue: URL, tmp_path: Path) -> None:
    code = "print(run(session.scalar(select(func.count()).select_from(Anime))) > 0)"
    assert invoke(tmp_path, "shell", "-c", code, database=catalogue) == (0, "True\n", "")


def test_dbshell_connects_with_the_address_of_the_service(catalogue: URL, tmp_path: Path) -> None:
    secret = catalogue.set(password="hunter2")
    with kitsu(tmp_path, "dbshell", "--", "-tAc", "SELECT current_database()", database=secret) as command:
        assert command.ends() == 0
        assert (command.output, command.errors) == (f"{catalogue.database}\n", "")


def test_dbshell_returns_the_exit_code_of_psql(catalogue: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "dbshell", "--", "-c", "SELECT nothing", database=catalogue) as command:
        assert command.ends() == 1
        assert 'column "nothing" does not exist' in command.errors
