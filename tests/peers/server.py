"""A TLS server for clients that want more than one request: server.py h2|http|postgres 1.3|1.2 CERT KEY KEYLOG.

`http` and `postgres` answer requests for as long as the client asks.

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


def postgres(tls):
    """Lets everybody in, and says of each query that it is done."""
    def message(kind, body):
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    ready = message(b"Z", b"I")
    tls.recv(4096)  # StartupMessage
    settings = {b"client_encoding": b"UTF8", b"DateStyle": b"ISO", b"server_version": b"15.0"}
    status = b"".join(message(b"S", k + b"\0" + v + b"\0") for k, v in settings.items())
    tls.sendall(message(b"R", bytes(4)) + status + ready)
    while request := tls.recv(4096):
        if request.startswith(b"X"):
            return
        tls.sendall(message(b"C", b"SET\0") + ready)


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
        elif protocol == "http":
            while tls.recv(4096):
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        else:
            postgres(tls)
        tls.close()
    except OSError as error:
        print(error, file=sys.stderr, flush=True)


listener = socket.create_server(("127.0.0.1", 0))
print(f"ACCEPT 127.0.0.1:{listener.getsockname()[1]}", flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
