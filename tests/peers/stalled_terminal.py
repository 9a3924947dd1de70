"""A terminal that stops to read: stalled_terminal.py KEYLOG URL NAME BINARY ARGS...

Runs BINARY in a pseudo-terminal, reads until its first key lines are saved, then not any more, while NAME (a curl) goes on.
Prints `saved on` when the key log has grown by 600 lines since, and `ended STATUS` when SIGTERM has ended it.
"""
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time

keylog, url, curl, *command = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "xterm-256color"
    os.execv(command[0], command)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
os.set_blocking(terminal, False)


def shake_hands():
    subprocess.run([curl, "-sk", "-o", "/dev/null", url], check=True)


def lines():
    try:
        with open(keylog) as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0


deadline = time.monotonic() + 50
while lines() < 5 and time.monotonic() < deadline:
    shake_hands()
    try:
        os.read(terminal, 65536)
    except BlockingIOError:
        pass
before = lines()
# More than the terminal has room for, of a screen that changes with each of them.
while lines() < before + 600 and time.monotonic() < deadline:
    shake_hands()
if lines() >= before + 600:
    print("saved on", flush=True)
os.kill(child, signal.SIGTERM)
while time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        print("ended", os.waitstatus_to_exitcode(status), flush=True)
        break
    time.sleep(0.05)
else:
    os.kill(child, signal.SIGKILL)
