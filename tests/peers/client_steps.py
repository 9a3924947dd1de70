"""One handshake for each line on standard input, as often as asked: a process that lives while others come and go.

Prints `waiting` at first and `done` after each.
"""
import socket
import ssl
import sys

certificate, times, port = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
print("waiting", flush=True)
for _ in range(int(times)):
    sys.stdin.readline()
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while tls.recv(65536):
                pass
    print("done", flush=True)
