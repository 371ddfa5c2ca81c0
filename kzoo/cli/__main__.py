"""`python -m kzoo.cli`."""

from kzoo.cli import main

main()
