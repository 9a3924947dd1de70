"""A TLS server that tells whom it met: server_ends.py HOST 1.3|1.2 CERT KEY.

Prints `ACCEPT PORT` once it listens, and for each connection `MET NUMBER ADDRESS NAME`, as its own socket and its own library
say: the address that it accepted, and the name that the client asked for, or `-`.
"""
import ipaddress
import itertools
import socket
import ssl
import sys

host, version, certificate, key = sys.argv[1:]

names = {}
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = context.maximum_version = {
    "1.3": ssl.TLSVersion.TLSv1_3,
    "1.2": ssl.TLSVersion.TLSv1_2,
}[version]
context.load_cert_chain(certificate, key)
context.sni_callback = lambda tls, name, _: names.update({tls.fileno(): name})

family = socket.AF_INET6 if ":" in host else socket.AF_INET
listener = socket.socket(family)
if host == "::":
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind((host, 0))
listener.listen()
print(f"ACCEPT {listener.getsockname()[1]}", flush=True)
for number in itertools.count():
    connection, (address, port, *_) = listener.accept()
    address = ipaddress.ip_address(address)
    address = getattr(address, "ipv4_mapped", None) or address
    shown = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    names.clear()
    try:
        with context.wrap_socket(connection, server_side=True) as tls:
            name = names.get(tls.fileno())
            tls.recv(65536)
            tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            tls.unwrap()
    except (OSError, ssl.SSLError) as error:
        print(error, file=sys.stderr, flush=True)
    print(f"MET {number} {shown} {name or '-'}", flush=True)
