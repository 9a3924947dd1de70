"""Connects, and shakes hands later: client_later.py CERT ADDRESS PORT.

Prints `waiting` once the connection is there, and waits for a line.
"""
import socket
import ssl
import sys

certificate, address, port = sys.argv[1:]
with socket.create_connection((address, int(port))) as connection:
    print("waiting", flush=True)
    sys.stdin.readline()
    context = ssl.create_default_context(cafile=certificate)
    with context.wrap_socket(connection, server_hostname="localhost") as tls:
        tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while tls.recv(65536):
            pass
