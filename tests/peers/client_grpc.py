"""grpcio's wheel: BoringSSL linked statically into cygrpc, stripped."""
import grpc

from clients import handshakes

for certificate, port in handshakes():
    with open(certificate, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    # A channel of its own for each handshake: gRPC shares connections of equal channels.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
