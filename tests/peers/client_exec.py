"""Shakes hands, and at once becomes another program in the same process: CERT TIMES PORT -- PROGRAM ARGS..."""
import os
import sys

split = sys.argv.index("--")
program = sys.argv[split + 1 :]
del sys.argv[split:]

import client_ssl  # noqa: E402,F401  It shakes hands as it is imported.

os.execv(program[0], program)
