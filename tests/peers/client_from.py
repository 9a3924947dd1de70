"""Connects from one port of 127.0.0.1 to another: client_from.py FROM TO tls|plain.

Says `waiting`, waits for a line, and says `connected`, with TLS or with a listener of its own; holds that until its input ends.
"""
import socket
import ssl
import sys

own, other, kind = sys.argv[1:]
ends = ("127.0.0.1", int(own)), ("127.0.0.1", int(other))
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
listener = socket.create_server(ends[1]) if kind == "plain" else None
connection = socket.socket()
connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
connection.bind(ends[0])
print("waiting", flush=True)
sys.stdin.readline()
connection.connect(ends[1])
if kind == "tls":
    connection = context.wrap_socket(connection)
print("connected", flush=True)
sys.stdin.read()
