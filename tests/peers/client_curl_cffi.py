"""curl_cffi's wheel: BoringSSL linked statically into _wrapper.abi3.so."""
from curl_cffi import requests

from clients import handshakes

for certificate, port in handshakes():
    reply = requests.get(f"https://localhost:{port}/", verify=certificate, impersonate="chrome", timeout=20)
    assert reply.status_code == 200
