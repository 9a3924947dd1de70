"""pyOpenSSL on cryptography's wheel: OpenSSL 4 linked statically into _rust.abi3.so, nothing exported."""
import socket

from OpenSSL import SSL

from clients import handshakes

for certificate, port in handshakes():
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(certificate)
    context.set_verify(SSL.VERIFY_PEER, lambda *found: found[-1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        tls = SSL.Connection(context, connection)
        tls.set_tlsext_host_name(b"localhost")
        tls.set_connect_state()
        tls.do_handshake()
        tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert tls.recv(65536)
        tls.close()
