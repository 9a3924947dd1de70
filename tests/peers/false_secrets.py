"""Logs false secrets for a client random of another's: false_secrets.py CERT KEY KEYLOG

Takes a ClientHello in hexadecimal from a line, and answers it as a server: nobody reads that, and the secrets are its own.
"""
import ssl
import sys

certificate, key, keylog = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.keylog_filename = keylog
incoming = ssl.MemoryBIO()
server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
print("waiting", flush=True)
incoming.write(bytes.fromhex(input()))
try:
    server.do_handshake()
except ssl.SSLWantReadError:
    print("done", flush=True)
input()
