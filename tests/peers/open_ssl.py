"""The standard library's ssl, with connections that stay open."""
import socket
import ssl

from opened import keep


def connect(certificate, port):
    context = ssl.create_default_context(cafile=certificate)
    # With a timeout the socket does not block, and SSL_get_error is asked why nothing came.
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    return context.wrap_socket(connection, server_hostname="localhost")


def request(tls, number):
    tls.sendall(f"GET /request-{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert tls.recv(4096)


keep(connect, request)
