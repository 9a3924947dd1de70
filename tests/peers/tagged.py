"""A handshake and a request in VLAN 7, both ends in this process: tagged.py INTERFACE CERT KEY KEYLOG.

Each flight is a TCP segment in a tagged frame; the server's packets have options of IPv4. Prints `waiting`, waits for a line, and prints `done` at the end.
"""
import socket
import ssl
import struct
import sys

interface, certificate, key, keylog = sys.argv[1:]
TAG = bytes.fromhex("8100" "0007" "0800")
SYN, PUSH, ACK, FIN = 2, 8, 16, 1
CLIENT, SERVER = (bytes([192, 0, 2, 1]), 40000), (bytes([192, 0, 2, 9]), 8443)

packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
packets.bind((interface, 0))
sequence = {CLIENT: 1, SERVER: 1}


def put(source, flags, payload=b""):
    target = SERVER if source == CLIENT else CLIENT
    ethernet = b"\x02" + bytes(5) + b"\x02" + bytes(4) + b"\1" + TAG
    options = b"\1" * 4 if source == SERVER else b""  # four times No Operation (RFC 791, 3.1)
    length = 40 + len(options) + len(payload)
    size = 0x45 + len(options) // 4
    ip = struct.pack(">BBHIBBH", size, 0, length, 0, 64, 6, 0) + source[0] + target[0] + options
    seen = sequence[target] if flags & ACK else 0
    tcp = struct.pack(">HHIIBBHI", source[1], target[1], sequence[source], seen, 0x50, flags, 512, 0)
    packets.send(ethernet + ip + tcp + payload)
    sequence[source] += len(payload) + (1 if flags & (SYN | FIN) else 0)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.keylog_filename = keylog
client_context = ssl.create_default_context(cafile=certificate)
to_client, by_client, to_server, by_server = (ssl.MemoryBIO() for _ in range(4))
client = client_context.wrap_bio(to_client, by_client, server_hostname="localhost")
server = context.wrap_bio(to_server, by_server, server_side=True)
print("waiting", flush=True)
sys.stdin.readline()


def step(end, what):
    """Has an end do something, and sends what it has to say."""
    source, said, heard = (CLIENT, by_client, to_server) if end is client else (SERVER, by_server, to_client)
    try:
        what()
    except ssl.SSLWantReadError:
        pass
    while part := said.read(1200):
        put(source, PUSH | ACK, part)
        heard.write(part)


put(CLIENT, SYN)
put(SERVER, SYN | ACK)
put(CLIENT, ACK)
for _ in range(2):
    step(client, client.do_handshake)
    step(server, server.do_handshake)
step(client, lambda: client.write(b"GET /tagged HTTP/1.0\r\n\r\n"))
assert server.read().startswith(b"GET")
step(server, lambda: server.write(b"HTTP/1.0 200 OK\r\n\r\nok"))
assert client.read().endswith(b"ok")
for source in CLIENT, SERVER:
    put(source, FIN | ACK)
print("done", flush=True)
