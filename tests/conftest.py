"""What every test starts from: signals as an interactive shell gives them."""

from __future__ import annotations

import signal

# A shell script that starts the tests in the background has them ignore SIGINT, and whatever they start as well: then
# a test that sends one waits for ever.
for _signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, signal.default_int_handler if _signum == signal.SIGINT else signal.SIG_DFL)
