"""NSS in several threads at once, each of which resumes its own sessions."""
import sys
import threading

import nss
from clients import handshakes

THREADS = 4

nss.start()
every = list(handshakes())
failed = []


def run(thread):
    try:
        for _, port in every:
            with nss.client(port, f"{thread} {port}") as tls:
                nss.get(tls)
    except BaseException as error:
        failed.append(error)
        raise


threads = [threading.Thread(target=run, args=[number]) for number in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(bool(failed))
