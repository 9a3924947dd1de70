"""Handshakes as fast as one client can make them: one context, no resumption, one request."""
import socket
import ssl

from clients import handshakes

context = None
for certificate, port in handshakes():
    context = context or ssl.create_default_context(cafile=certificate)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while tls.recv(65536):
                pass
