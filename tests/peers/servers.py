"""What the server scripts share: each is started as SCRIPT CERT KEY, and serves one connection after the other."""
import socket
import sys

certificate, key = sys.argv[1:]
GREETING = b"hello\n"


def connections():
    """Listens, says where, then gives each connection, which the script ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"ACCEPT 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        with listener.accept()[0] as connection:
            yield connection
