"""What every suite has in common."""

import signal

# A shell ignores SIGINT in what it starts with "&". Every child would inherit that, and tests of
# Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
