"""The standard library's ssl, whose ClientHello goes out in segments of one byte."""
import socket
import ssl

from clients import handshakes

context = None
for certificate, port in handshakes():
    context = context or ssl.create_default_context(cafile=certificate)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, sent, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_first = True
        while True:
            try:
                tls.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                is_done = False
            while bytes_ := sent.read(1 if is_first else -1):
                connection.sendall(bytes_)
            is_first = False
            if is_done:
                break
            received.write(connection.recv(65536))
