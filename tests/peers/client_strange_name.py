"""As client_ssl.py, with a server name of escape sequences: the title, DEL, a copy to the printer."""
import socket
import ssl

from clients import handshakes

for certificate, port in handshakes():
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", port)) as connection:
        with context.wrap_socket(connection, server_hostname="\x1b]0;n\x07\x7f\x1b[5i") as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while tls.recv(65536):
                pass
    print("done", flush=True)
    input()
