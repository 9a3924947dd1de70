"""pycurl's wheel: libcurl and OpenSSL bundled, as shared libraries with hashed names."""
import pycurl

from clients import handshakes

for certificate, port in handshakes():
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"https://localhost:{port}/")
    curl.setopt(pycurl.CAINFO, certificate)
    curl.setopt(pycurl.TIMEOUT, 20)
    curl.setopt(pycurl.WRITEFUNCTION, lambda _: None)
    curl.perform()
    curl.close()
