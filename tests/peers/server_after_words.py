"""A TLS server with which something else is said first: server_after_words.py CERT KEY KEYLOG.

Prints `ACCEPT KIND PORT` for each protocol once it listens.
"""
import socket
import ssl
import sys
import threading

certificate, key, keylog = sys.argv[1:]

# What the server says, and what it then waits for the client to say the end of.
WORDS = {
    "connect": [(b"", b"\r\n\r\n"), (b"HTTP/1.1 200 OK\r\n\r\n", None)],
    "smtp": [
        (b"220 localhost ESMTP\r\n", b"\r\n"),
        (b"250-localhost\r\n250 STARTTLS\r\n", b"\r\n"),
        (b"220 go ahead\r\n", None),
    ],
    # SSLRequest (https://www.postgresql.org/docs/17/protocol-message-formats.html).
    "postgres": [(b"", b"\x04\xd2\x16\x2f"), (b"S", None)],
    # StartTLS, and the answer that it succeeds (RFC 4511, 4.14).
    "ldap": [
        (b"", b"1.3.6.1.4.1.1466.20037"),
        (b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", None),
    ],
}

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.keylog_filename = keylog


def serve(listener, words):
    while True:
        connection, _ = listener.accept()
        for said, end in words:
            connection.sendall(said)
            heard = b""
            while end and not heard.endswith(end):
                heard += connection.recv(1)
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(65536)
                tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError as error:
            print(error, file=sys.stderr, flush=True)


for kind, words in WORDS.items():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, words)).start()
    print("ACCEPT", kind, listener.getsockname()[1], flush=True)
