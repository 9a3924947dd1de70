"""What the client scripts share: arguments, and the wait for the test.

Each script is started as SCRIPT CERT TIMES PORT..., loads its TLS library, and calls `handshakes`.
"""
import sys


def handshakes():
    """Says that the library is loaded, waits for a line, then gives (certificate, port) for each handshake."""
    certificate, times, *ports = sys.argv[1:]
    print("waiting", flush=True)
    sys.stdin.readline()
    for port in ports:
        for _ in range(int(times)):
            yield certificate, int(port)
