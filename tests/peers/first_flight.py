"""A client that tells its ClientHello before it sends it: first_flight.py CERT TIMES PORT..., on a line in hexadecimal."""
import socket
import ssl

from clients import handshakes

for certificate, port in handshakes():
    context = ssl.create_default_context(cafile=certificate)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port)) as connection:

        def until_done(act):
            while True:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65536))

        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            hello = outgoing.read()
        print(hello.hex(), flush=True)
        input()
        connection.sendall(hello)
        until_done(tls.do_handshake)
        tls.write(b"GET / HTTP/1.0\r\n\r\n")
        until_done(lambda: tls.read(65536))
        print("done", flush=True)
        input()
