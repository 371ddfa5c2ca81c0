"""`python -m kzoo`: the command line."""

from kzoo.cli import main

main()
