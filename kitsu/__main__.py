"""`python -m kitsu` is the `kitsu` command."""

from kitsu.cli import main

main()
