"""One program for each DVC stage, of the same name."""

import signal
import sys

# The imports of a program take seconds. `program.main` handles an interrupt after them; before, it
# would end in a traceback. This module is imported first, and by `python -m` with this argument.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
