"""psycopg2, whose libssl is its own, with connections that stay open."""
import psycopg2

from opened import keep


def connect(certificate, port):
    return psycopg2.connect(host="localhost", hostaddr="127.0.0.1", port=port, user="nobody", dbname="none",
                            sslmode="verify-full", sslrootcert=certificate)


def request(connection, number):
    connection.cursor().execute(f"SET number TO {number}")


keep(connect, request)
