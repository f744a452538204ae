"""Run a command on a pseudo-terminal, and answer its prompts."""

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy.engine import URL

from tests.cli.process import ROOT, SECRET_KEY

TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def typed(folder: Path, database: URL, command: tuple[str, ...], *answers: str) -> tuple[int, str]:
    """Return the exit code of a command of `kitsu`, and what the terminal showed."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database.render_as_string(hide_password=False),
    }
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, sys.executable, "-m", "kitsu", *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        output = b""
        for answer in answers:
            seen = len(output)
            while not output[seen:].rstrip().endswith(b":"):
                more = process.stdout.read(1000)
                assert more, output
                output += more
            process.stdin.write(f"{answer}\n".encode())
        output += b"".join(iter(lambda: process.stdout.read(1000), b""))  # type: ignore[union-attr] # it has one
        return process.wait(30), output.decode()
