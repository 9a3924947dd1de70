"""Stops in the middle of a handshake, both ends in this process: half_handshake.py CERT KEY KEYLOG

The server has sent its last flight and derived all its secrets; the client has not read it. Prints `middle`, and waits.
"""
import ssl
import sys

certificate, key, keylog = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.keylog_filename = keylog
to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
client_context = ssl.create_default_context(cafile=certificate)
client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
server = context.wrap_bio(to_server, to_client, server_side=True)
print("waiting", flush=True)
sys.stdin.readline()
for end in client, server:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        pass
print("middle", flush=True)
sys.stdin.readline()
