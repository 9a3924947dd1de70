"""What the clients with long-lived connections share: they open them, and then carry one more request for each line; `name NEW`
changes the name of the process first.

Each script is started as SCRIPT CERT TIMES PORT..., and calls `keep`.
"""
import sys


def keep(connect, request):
    """`connect(certificate, port)` opens a connection, `request(connection, number)` uses it."""
    certificate, times, *ports = sys.argv[1:]
    opened = [connect(certificate, int(port)) for port in ports for _ in range(int(times))]
    print("open", flush=True)
    for number, line in enumerate(sys.stdin):
        if line.startswith("name "):
            with open("/proc/self/comm", "w") as comm:
                comm.write(line[5:].strip())
        for connection in opened:
            request(connection, number)
        print("said", number, flush=True)
