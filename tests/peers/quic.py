"""OpenSSL's own QUIC (3.5 and later), client and server in one process, by LIBSSL: quic.py CERT KEY KEYLOG TIMES.

The key log is the server's and is the truth. Prints `waiting`, and waits for a line.
"""
import ctypes
import socket
import sys

import libssl
from libssl import function

certificate, key, keylog, times = sys.argv[1:]
LOOPBACK = bytes([127, 0, 0, 1])
PROTOCOL = ctypes.create_string_buffer(b"h3")
pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p

SelectProtocol = ctypes.CFUNCTYPE(
    number, pointer, ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_ubyte), pointer, ctypes.c_uint, pointer
)
LogKey = ctypes.CFUNCTYPE(None, pointer, text)

server_method = function("OSSL_QUIC_server_method", pointer)
client_method = function("OSSL_QUIC_client_method", pointer)
select_protocol = function("SSL_CTX_set_alpn_select_cb", None, pointer, SelectProtocol, pointer)
log_keys = function("SSL_CTX_set_keylog_callback", None, pointer, LogKey)
new_listener = function("SSL_new_listener", pointer, pointer, ctypes.c_uint64)
listen = function("SSL_listen", number, pointer)
accept_connection = function("SSL_accept_connection", pointer, pointer, ctypes.c_uint64)
offer_protocols = function("SSL_set_alpn_protos", number, pointer, text, ctypes.c_uint)
set_peer = function("SSL_set1_initial_peer_addr", number, pointer, pointer)
set_blocking = function("SSL_set_blocking_mode", number, pointer, number)
handle_events = function("SSL_handle_events", number, pointer)
do_handshake = function("SSL_do_handshake", number, pointer)
new_address = function("BIO_ADDR_new", pointer)
make_address = function("BIO_ADDR_rawmake", number, pointer, number, text, ctypes.c_size_t, ctypes.c_ushort)


@SelectProtocol
def selected(_tls, out, out_length, *_):
    out[0], out_length[0] = ctypes.addressof(PROTOCOL), 2
    return 0


@LogKey
def logged(_tls, line):
    with open(keylog, "ab") as file:
        file.write(line + b"\n")


def udp():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.setblocking(False)
    return udp


server_context, client_context = libssl.context(server_method()), libssl.context(client_method())
assert libssl.use_certificate(server_context, certificate.encode(), libssl.PEM) == 1
assert libssl.use_key(server_context, key.encode(), libssl.PEM) == 1
select_protocol(server_context, selected, None)
log_keys(server_context, logged)
server_socket = udp()
listener = new_listener(server_context, 0)
assert libssl.set_fd(listener, server_socket.fileno()) == 1 and listen(listener) == 1
set_blocking(listener, 0)

print("waiting", flush=True)
sys.stdin.readline()
for _ in range(int(times)):
    client_socket, client, server = udp(), libssl.new(client_context), None
    assert libssl.set_fd(client, client_socket.fileno()) == 1
    offer_protocols(client, b"\x02h3", 3)
    address = new_address()
    make_address(address, socket.AF_INET, LOOPBACK, 4, socket.htons(server_socket.getsockname()[1]))
    set_peer(client, address)
    set_blocking(client, 0)
    done = False
    while not done:
        connected = libssl.connect(client) == 1
        handle_events(listener)
        server = server or accept_connection(listener, 0)
        done = server and handle_events(server) == 1 and do_handshake(server) == 1 and connected
    libssl.free(client)
    libssl.free(server)
