"""`python -m buildex`."""

from buildex.cli.main import main

main(prog_name="buildex")
