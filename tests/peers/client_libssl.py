"""The libssl in LIBSSL, by SSL_connect."""
import ctypes
import socket

import libssl
from clients import handshakes

context = libssl.context(libssl.method())
buffer = ctypes.create_string_buffer(65536)
request = b"GET / HTTP/1.0\r\n\r\n"

for _, port in handshakes():
    with socket.create_connection(("127.0.0.1", port)) as connection:
        tls = libssl.handshake(context, connection, libssl.connect)
        assert libssl.write(tls, request, len(request)) == len(request)
        while libssl.read(tls, buffer, len(buffer)) > 0:
            pass
        libssl.end(tls)
