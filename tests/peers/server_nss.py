"""NSS, by SSL_ForceHandshake, with the certificate and the key in a database."""
import ctypes
import os
import subprocess
import tempfile

import nss
from servers import GREETING, certificate, connections, key

_pointer, _number, _text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
start = nss.function(nss.nss, "NSS_Init", _number, _text)
find = nss.function(nss.nss, "PK11_FindCertFromNickname", _pointer, _text, _pointer)
find_key = nss.function(nss.nss, "PK11_FindKeyByAnyCert", _pointer, _pointer, _pointer)
configure = nss.function(
    nss.ssl, "SSL_ConfigServerCert", _number, _pointer, _pointer, _pointer, _pointer, _number
)
configure_cache = nss.function(
    nss.ssl, "SSL_ConfigServerSessionIDCache", _number, _number, _number, _number, _text
)

with tempfile.TemporaryDirectory() as folder:
    database = f"sql:{folder}"
    bundle = os.path.join(folder, "bundle.p12")
    for command in [
        f"certutil -N -d {database} --empty-password",
        f"openssl pkcs12 -export -name server -passout pass: -out {bundle} -in {certificate} -inkey {key}",
        f"pk12util -d {database} -i {bundle} -K  -W ",
    ]:
        subprocess.run(command.split(" "), check=True, stdout=subprocess.DEVNULL)
    nss.check(start(database.encode()))
    nss.check(nss.set_domestic_policy())
    nss.check(configure_cache(0, 0, 0, folder.encode()))
    leaf = find(b"server", None)
    private_key = find_key(leaf, None)
    assert leaf and private_key, nss.error()

for connection in connections():
    tls = nss.import_tls(None, nss.import_socket(connection.detach()))
    nss.check(configure(tls, leaf, private_key, None, 0))
    nss.check(nss.reset(tls, 1))
    nss.check(nss.shake_hands(tls))
    assert nss.write(tls, GREETING, len(GREETING)) == len(GREETING), nss.error()
    nss.check(nss.close(tls))
