"""awscrt's wheel: s2n-tls, static. SCRIPT CERT TIMES PORT..."""
from awscrt import http, io

from clients import handshakes

group = io.EventLoopGroup(1)
bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
for certificate, port in handshakes():
    options = io.TlsContextOptions()
    options.override_default_trust_store_from_path(None, certificate)
    tls = io.ClientTlsContext(options).new_connection_options()
    tls.set_server_name("localhost")
    connecting = http.HttpClientConnection.new("localhost", port, bootstrap, tls_connection_options=tls)
    connecting.result(20).close().result(20)
