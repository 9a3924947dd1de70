"""A TLS server for clients that want more than HTTP/1: server.py h2|postgres 1.3|1.2 CERT KEY KEYLOG.

Its key log is the truth. Prints `ACCEPT 127.0.0.1:PORT` once it listens.
"""
import socket
import ssl
import sys
import threading

protocol, version, certificate, key, keylog = sys.argv[1:]
SETTINGS = bytes.fromhex("000000040000000000")  # an empty HTTP/2 SETTINGS frame: RFC 9113, 6.5
SETTINGS_ACK = bytes.fromhex("000000040100000000")

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = context.maximum_version = {
    "1.3": ssl.TLSVersion.TLSv1_3,
    "1.2": ssl.TLSVersion.TLSv1_2,
}[version]
context.load_cert_chain(certificate, key)
context.keylog_filename = keylog
if protocol == "h2":
    context.set_alpn_protocols(["h2"])


def serve(client):
    try:
        if protocol == "postgres":
            client.recv(8)  # SSLRequest: length 8 and code 80877103
            client.sendall(b"S")
        tls = context.wrap_socket(client, server_side=True)
        if protocol == "h2":
            tls.sendall(SETTINGS + SETTINGS_ACK)
            while tls.recv(4096):
                pass
        else:
            tls.recv(4096)  # StartupMessage
            message = b"SERROR\0C28000\0Mno database here\0\0"
            tls.sendall(b"E" + (len(message) + 4).to_bytes(4, "big") + message)
        tls.close()
    except OSError as error:
        print(error, file=sys.stderr, flush=True)


listener = socket.create_server(("127.0.0.1", 0))
print(f"ACCEPT 127.0.0.1:{listener.getsockname()[1]}", flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
