"""pyOpenSSL on cryptography's wheel, by SSL_do_handshake."""
from OpenSSL import SSL

from servers import GREETING, certificate, connections, key

context = SSL.Context(SSL.TLS_SERVER_METHOD)
context.use_certificate_file(certificate)
context.use_privatekey_file(key)

for connection in connections():
    tls = SSL.Connection(context, connection)
    tls.set_accept_state()
    tls.do_handshake()
    tls.sendall(GREETING)
    tls.shutdown()
