"""The libssl in LIBSSL, by SSL_connect."""
import libssl
from clients import handshakes

for _, port in handshakes():
    with libssl.Client(port) as client:
        client.get()
