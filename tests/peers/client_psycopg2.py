"""psycopg2-binary's wheel: libpq and OpenSSL bundled, as shared libraries with hashed names."""
import psycopg2

from clients import handshakes

for certificate, port in handshakes():
    try:
        psycopg2.connect(
            host="localhost", hostaddr="127.0.0.1", port=port, user="nobody", dbname="none",
            sslmode="verify-full", sslrootcert=certificate, gssencmode="disable", connect_timeout=20,
        )
    except psycopg2.OperationalError as error:
        assert "no database here" in str(error), error
