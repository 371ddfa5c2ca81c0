"""`kzoo`, or `python -m kzoo`: the command line. Signals are taken before anything heavy is imported."""

from kzoo import signals


def main() -> None:
    signals.take()
    from kzoo.cli import main

    main()


if __name__ == "__main__":
    main()
