"""The standard library's ssl, where each handshake with a port but the first resumes the session of the one before."""
import socket
import ssl

from clients import handshakes

context, sessions = None, {}
for certificate, port in handshakes():
    context = context or ssl.create_default_context(cafile=certificate)
    session = sessions.get(port)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        with context.wrap_socket(connection, server_hostname="localhost", session=session) as tls:
            assert tls.session_reused == (session is not None)
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while tls.recv(65536):
                pass
            # Read now: in TLS 1.3 the tickets come after the handshake.
            sessions[port] = tls.session
