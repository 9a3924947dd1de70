"""curl_cffi, whose BoringSSL is in its extension, with connections that stay open."""
from curl_cffi import requests

from opened import keep


def connect(certificate, port):
    session = requests.Session(verify=certificate)
    session.get(f"https://localhost:{port}/first")
    return session, port


def request(opened, number):
    session, port = opened
    assert session.get(f"https://localhost:{port}/request-{number}").text == "ok"


keep(connect, request)
