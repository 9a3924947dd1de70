"""grpcio, whose BoringSSL is in its extension, with channels that stay open. The server knows no method: a call is a request."""
import grpc

from opened import keep


def connect(certificate, port):
    with open(certificate, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    channel = grpc.secure_channel(f"localhost:{port}", credentials)
    grpc.channel_ready_future(channel).result(timeout=60)
    return channel


def request(channel, number):
    # What the server makes of it does not matter: it was sent.
    channel.unary_unary(f"/none/Request{number}").future(b"", timeout=0.5)


keep(connect, request)
