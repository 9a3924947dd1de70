"""NSS, by SSL_ForceHandshake."""
import nss
from clients import handshakes

nss.start()
for _, port in handshakes():
    with nss.client(port) as tls:
        nss.get(tls)
