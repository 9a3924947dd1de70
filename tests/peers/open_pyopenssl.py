"""pyOpenSSL on cryptography, whose OpenSSL is in its extension, with connections that stay open."""
import socket

from OpenSSL import SSL

from opened import keep


def connect(certificate, port):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(certificate)
    connection = SSL.Connection(context, socket.create_connection(("127.0.0.1", port)))
    connection.set_tlsext_host_name(b"localhost")
    connection.set_connect_state()
    connection.do_handshake()
    return connection


def request(connection, number):
    connection.sendall(f"GET /request-{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert connection.recv(4096)


keep(connect, request)
