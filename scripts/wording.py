"""The wording check of `make check`: words that make texts hard to read, and long commit subjects.

`python -m scripts.wording` checks the files that git tracks and the commits since the rule was made;
`--message FILE` checks the message of one commit, for a commit-msg hook.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_SUBJECT = 72
SINCE = "9e51e11a8a4dd25089f4818d95ebf9014e1ea67d"
"""Commits after this one are checked."""
SUFFIXES = {".md", ".py", ".sh", ".sql", ".toml", ".yaml", ".yml", ".example", ""}
EXEMPT = ("scripts/wording.py", "LICENSE", "migrations/versions/")  # a migration is never edited

NAME_IT = "name the actor: the client, the worker, the user, the request"
RULES = {
    r"(?i:whoever|nobody|somebody|one's)": NAME_IT,
    r"(?i:anew)": 'write "again" or "new"',
    r"[Ii]s none|are none": 'write "does not exist" or "there is no"',  # Python's `is None` is no prose
    r"(?i:till)": 'write "until"',
    r"(?i:by hand)": 'write "manually" or name the command',
    r"(?i:comes on top)": "name what exceeds which limit",
    r"(?i:takes? along)": "name the action: copy, export, include",
}


def text_problems(path: str, text: str) -> Iterator[str]:
    """Yield the problems of a text as `path:line: word: advice`."""
    for number, line in enumerate(text.splitlines(), 1):
        for words, advice in RULES.items():
            for found in re.finditer(rf"\b(?:{words})\b", line):
                yield f'{path}:{number}: "{found[0]}": {advice}'


def subject_problems(commit: str, subject: str) -> Iterator[str]:
    """Yield the problems of the first line of a commit message."""
    if len(subject) > MAX_SUBJECT:
        yield f"{commit}: the subject has {len(subject)} characters; at most {MAX_SUBJECT}: {subject}"
    if subject.endswith("."):
        yield f"{commit}: the subject ends with a full stop: {subject}"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, check=True, text=True).stdout


def problems() -> Iterator[str]:
    """Yield the problems of the checkout in the working directory."""
    try:
        paths = _git("ls-files", "-z").split("\0")
    except (subprocess.CalledProcessError, FileNotFoundError):
        print("The wording is not checked: this is not a git checkout.", file=sys.stderr)
        return
    for path in paths:
        if path and not path.startswith(EXEMPT) and Path(path).suffix in SUFFIXES and Path(path).is_file():
            yield from text_problems(path, Path(path).read_text(encoding="utf-8"))
    try:
        commits = _git("log", "--no-merges", "--format=%h %s", f"{SINCE}..HEAD")
    except subprocess.CalledProcessError:
        print("Commit subjects are not checked: this clone has too little history.", file=sys.stderr)
        return
    for line in commits.splitlines():
        yield from subject_problems(*line.split(" ", 1))


def main(arguments: list[str]) -> int:
    """Print the problems and return the exit code."""
    if arguments[:1] == ["--message"]:
        found = list(subject_problems("commit", Path(arguments[1]).read_text(encoding="utf-8").split("\n", 1)[0]))
    else:
        found = list(problems())
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
