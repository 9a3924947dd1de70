"""Handshakes that nobody answers: half_open.py INTERFACE COUNT FILE.

Puts the beginnings of connections on an interface whose other end does not take them: a SYN, and a ClientHello with a random
of its own. Goes on whenever they are in FILE, where they are recorded.
"""
import os
import socket
import ssl
import struct
import sys
import time

interface, count, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
# Bytes that are on their way at a time.
AT_ONCE = 1 << 20
# Those of an enhanced packet block besides the packet (draft-ietf-opsawg-pcapng, 4.3).
BLOCK = 32
SYN, ACK = 2, 16
# Start of the random in a record with a ClientHello (RFC 8446, 4.1.2 and 5.1).
RANDOM = 11

received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
client = ssl.create_default_context().wrap_bio(received, sent, server_hostname="half-open.test")
try:
    client.do_handshake()
except ssl.SSLWantReadError:
    hello = sent.read()

packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
packets.bind((interface, 0))


def put(source, flags, sequence, payload):
    """From one of 256 ports of as many hosts as it takes, to 203.0.113.1:443; the checksums are not looked at.

    Gives the bytes that it takes in the file.
    """
    ethernet = b"\x02" + bytes(5) + b"\x02" + bytes(4) + b"\1" + b"\x08\0"
    host = (198 << 24) + (18 << 16) + (source >> 8)
    length = 40 + len(payload)
    ip = struct.pack(">BBHIBBHIBBBB", 0x45, 0, length, 0, 64, 6, 0, host, 203, 0, 113, 1)
    tcp = struct.pack(">HHIIBBHI", 40000 + source % 256, 443, sequence, 0, 0x50, flags, 512, 0)
    length = packets.send(ethernet + ip + tcp + payload)
    return BLOCK + (length + 3) // 4 * 4


expected = os.path.getsize(file)
for number in range(count):
    random = hello[RANDOM:RANDOM + 28] + number.to_bytes(4, "big")
    expected += put(number, SYN, 1, b"")
    expected += put(number, ACK, 2, hello[:RANDOM] + random + hello[RANDOM + 32:])
    while expected > os.path.getsize(file) + AT_ONCE:
        time.sleep(0.001)
