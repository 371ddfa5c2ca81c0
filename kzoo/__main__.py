"""`kzoo`, or `python -m kzoo`: the command line. Signals are taken before anything heavy is imported."""

import gc
import os
import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a traceback out of the imports below
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import kzoo.signals as signals  # "from kzoo import" would first ask the package for a model of that name


def main() -> None:
    signals.take()
    for handle in range(3):  # of stdin, stdout, stderr one that is closed would be the next file that is opened
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    from kzoo.cli import main

    try:
        main()
    finally:  # Python looks once more for garbage as it ends, among all that TensorFlow is: a second for nothing
        gc.freeze()
        gc.disable()


if __name__ == "__main__":
    main()
