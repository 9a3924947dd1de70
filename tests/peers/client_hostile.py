"""Calls SSL_get_error of Debian's libssl, by LIBSSL, with connections that are none, between true handshakes.

With a result of 1 it returns before it looks at the connection: only tlskeytop does.
"""
import ctypes
import mmap
import os
import struct

import libssl
from clients import handshakes

# Offsets in OpenSSL 3.0, from tui/layouts/openssl_layouts.tsv.
SIZE = 4096
VERSION, SERVER, HAND_STATE, NEW_CIPHER, HIT = 0, 56, 92, 736, 1232
HANDSHAKE_SECRET, MASTER_SECRET, SERVER_FINISHED_HASH, EXPORTER, SESSION = 1412, 1476, 1732, 1988, 2328
MASTER_KEY_LENGTH, CIPHER_ID = 8, 24
DONE, TLS13, TLS12 = 1, 0x304, 0x303
TORN = 500

libc = ctypes.CDLL(None, use_errno=True)


def address(buffer):
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def page(content):
    """A mapping of its own with this content, or its start."""
    buffer = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    buffer[: len(content)] = content
    return buffer


def protected():
    buffer = page(b"")
    libc.mprotect(ctypes.c_void_p(address(buffer)), SIZE, 0)
    return buffer


def at_the_end():
    """The last bytes of a mapping: the rest of what is read lies beyond it."""
    two = mmap.mmap(-1, 2 * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    libc.mprotect(ctypes.c_void_p(address(two) + SIZE), SIZE, 0)
    return two, address(two) + SIZE - 128


def of_itself():
    """Every pointer in it leads to itself."""
    buffer = page(b"")
    buffer[:] = struct.pack("<Q", address(buffer)) * (SIZE // 8)
    return buffer


def lookalike(version, fields, cipher=0x03001301, key_length=48):
    """Random bytes, with what a connection has whose handshake is done, and then `fields`."""
    ciphers = page(struct.pack("<I", cipher).rjust(CIPHER_ID + 4, b"\0"))
    session = page(bytes(MASTER_KEY_LENGTH) + struct.pack("<Q", key_length))
    buffer = page(os.urandom(SIZE))
    numbers = {VERSION: version, SERVER: 0, HAND_STATE: DONE, HIT: 0}
    for offset, number in {**numbers, **fields}.items():
        struct.pack_into("<I", buffer, offset, number)
    struct.pack_into("<Q", buffer, NEW_CIPHER, address(ciphers))
    struct.pack_into("<Q", buffer, SESSION, address(session))
    return buffer, ciphers, session


def call(pointer):
    assert libssl.get_error(pointer, 1) == 0


def change(buffer, true):
    """Another process that makes the secrets false and true again, as fast as it can."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        false = os.urandom(48)
        while os.getppid() == parent:
            for field in (MASTER_SECRET, SERVER_FINISHED_HASH, EXPORTER, HANDSHAKE_SECRET):
                buffer[field : field + 48] = false
                false = os.urandom(48)  # Takes as long as the rest: it is false half of the time.
                buffer[field : field + 48] = true[field : field + 48]
        os._exit(0)
    return child


def hostility(tls):
    for pointer in (0, 1, 2**64 - 1, 2**64 - 4096, 0xFFFF888000000000, 2**63, 2**47 - 4096):
        call(pointer)
    for content in (b"", b"\xff" * SIZE, os.urandom(SIZE)):
        call(address(page(content)))
    call(address(protected()))
    _kept, end = at_the_end()
    call(end)
    gone = page(b"")
    where = address(gone)
    libc.munmap(ctypes.c_void_p(where), SIZE)
    call(where)
    itself = of_itself()
    call(address(itself))
    lies = [
        lookalike(TLS13, {}),
        lookalike(TLS13, {}, cipher=0x0300C02B),
        lookalike(TLS13, {}, cipher=0),
        lookalike(TLS13, {SERVER: 7}),
        lookalike(TLS13, {HIT: 2**32 - 1}),
        lookalike(0x305, {}),
        lookalike(TLS12, {}, key_length=2**63),
        lookalike(TLS12, {}, key_length=0),
    ]
    for lie in lies:
        call(address(lie[0]))
    # One page at many addresses: each is a connection of its own, that was not seen before.
    true = ctypes.string_at(tls, SIZE)
    file = os.memfd_create("torn")
    os.write(file, true)
    torn = [mmap.mmap(file, SIZE) for _ in range(TORN)]
    child = change(torn[0], true)
    for view in torn:
        while view[:] == true:
            pass
        call(address(view))
    os.kill(child, 9)
    os.waitpid(child, 0)
    print(f"lies {len(lies)}", flush=True)


first = True
for _, port in handshakes():
    with libssl.Client(port) as client:
        if first:
            hostility(client.tls)
            first = False
        client.get()
