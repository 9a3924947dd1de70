"""The libssl in LIBSSL, by SSL_accept."""
import libssl
from servers import GREETING, certificate, connections, key

context = libssl.context(libssl.method())
assert libssl.use_certificate(context, certificate.encode(), libssl.PEM) == 1
assert libssl.use_key(context, key.encode(), libssl.PEM) == 1

for connection in connections():
    tls = libssl.handshake(context, connection, libssl.accept)
    assert libssl.write(tls, GREETING, len(GREETING)) == len(GREETING)
    libssl.end(tls)
