"""What every suite has in common."""

import signal

# A shell ignores SIGINT in what it starts with "&", and nohup ignores SIGHUP. Every child would
# inherit that, and tests of these signals would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
