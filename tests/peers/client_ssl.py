"""The standard library's ssl: only SSL_read_ex and SSL_write_ex."""
import socket
import ssl

from clients import handshakes

for certificate, port in handshakes():
    context = ssl.create_default_context(cafile=certificate)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while tls.recv(65536):
                pass
