"""uv, one process for each handshake: SCRIPT CERT TIMES PORT... with its path in UV."""
import os
import subprocess
import tempfile

from clients import handshakes

for certificate, port in handshakes():
    with tempfile.TemporaryDirectory() as target:
        index = f"https://localhost:{port}/simple"
        # The page that it gets is no index: it fails after one request.
        subprocess.run(
            [os.environ["UV"], "pip", "install", "--no-cache", "--no-config", "--python", "/usr/bin/python3"]
            + ["--index-url", index, "--target", target, "nothing"],
            env={"SSL_CERT_FILE": certificate, "UV_HTTP_RETRIES": "0", "HOME": target, "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
