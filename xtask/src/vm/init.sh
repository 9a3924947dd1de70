#!/bin/busybox sh
# First process of the guest of `cargo xtask vm-test`: captures handshakes of openssl and compares what it got with the
# peer's own key log. It reports by lines `vm-test NAME VALUE` on the serial console.
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ip link set lo up
cd /tmp

say() { echo "vm-test $*"; }

# Waits until a command succeeds. A guest without an accelerator is slow: a minute.
until_true() {
    for _ in $(seq 600); do
        "$@" && return 0
        usleep 100000
    done
    return 1
}

sentence() { grep -q "$1" "$2" 2>/dev/null; }

# A listening socket on 127.0.0.1 (proc_net_tcp.rst of the kernel). To connect would be a handshake that fails.
listens() { grep -q "0100007F:$(printf %04X "$1") 00000000:0000 0A " /proc/net/tcp; }

serve() {
    # At the end of its input it would end each connection.
    sleep 600 | openssl s_server -quiet -accept "127.0.0.1:$1" -cert /cert.pem -key /key.pem \
        -keylogfile "$2" >/dev/null 2>&1 &
    server=$!
    until_true listens "$1" || say problem "openssl s_server does not accept"
}

capture() {
    name=$1
    shift
    tlskeytop "$@" --mode keylog -k "$name.keylog" --log-file "$name.log" --duration 300 2>"$name.err" &
    tlskeytop=$!
    until_true sentence ready "$name.err" || say problem "$name: not ready: $(tr '\n' ' ' <"$name.err")"
}

handshake() {
    openssl s_client -"$1" -connect "127.0.0.1:$port" </dev/null >/dev/null 2>client.err ||
        say problem "openssl s_client: $(tail -n 1 client.err)"
}

# Without the comment with which openssl begins its key log.
lines() { grep -v '^#' "$1" | sort -u; }

stop() {
    kill -INT "$tlskeytop"
    wait "$tlskeytop" || say problem "$1: exit code $?"
}

# Of tlskeytop, when it has ended.
compare() {
    lines "$2" >expected
    lines "$1.keylog" >captured
    if ! [ -s expected ]; then
        say "$1" nothing to compare with
    elif cmp -s expected captured; then
        say "$1" "$(wc -l <expected) lines"
    else
        say "$1" differs
        diff expected captured | sed 's/[0-9a-f]\{40,\}/../g' | head -20
        cat "$1.err"
    fi
}

doctor=0
tlskeytop doctor >doctor.txt 2>&1 || doctor=$?
say doctor "$doctor"
sed -n 's/^FAILED *//p' doctor.txt | while read -r line; do say refused "$line"; done

if [ "$doctor" != 0 ]; then
    capture=0
    tlskeytop --mode keylog -k never.keylog --duration 1 >never.err 2>&1 || capture=$?
    say capture "$capture" "$(tr '\n' ' ' <never.err)"
    poweroff -f
fi

# New handshakes, by the tap and by the walk. The server ends before its port is used again.
port=4433
for method in tap walk; do
    serve $port $method.peer
    capture $method --all --method $method
    handshake tls1_3
    handshake tls1_2
    # What both ends have is written once; that of TLS 1.2 comes last.
    until_true sentence '^CLIENT_RANDOM ' $method.keylog
    stop $method
    compare $method $method.peer
    kill "$server"
    port=$((port + 1))
done
if sentence 'no multi-uprobe links' tap.log; then say links perf; else say links multi; fi

# A connection that was open before: it goes on writing.
serve $port open.peer
(while echo more; do sleep 1; done) | openssl s_client -quiet -tls1_3 -connect 127.0.0.1:$port >/dev/null 2>&1 &
until_true sentence '^EXPORTER_SECRET ' open.peer
capture open --all --catch-up 40
until_true sentence '^EXPORTER_SECRET ' open.keylog
stop open
compare open open.peer
kill "$server"
port=$((port + 1))

# The clock goes a day back, and two forward.
has_three() { [ "$(grep -c '^CLIENT_RANDOM ' clock.keylog)" = 3 ]; }
serve $port clock.peer
capture clock --all
for jump in 0 -86400 172800; do
    date -s "@$(($(date +%s) + jump))" >/dev/null || say problem "the clock cannot be set"
    handshake tls1_2
done
until_true has_three
stop clock
compare clock clock.peer
kill "$server"
port=$((port + 1))

# Packets, in which the secrets of the connections stand that are there.
serve $port packets.peer
capture packets --all --pcap-file packets.pcapng
handshake tls1_3
handshake tls1_2
until_true sentence '^CLIENT_RANDOM ' packets.keylog
stop packets
strings -n 80 packets.pcapng | grep -E '^[A-Z_0-9]+ [0-9a-f]{64} [0-9a-f]{64,}$' >packets.keylog
compare packets packets.peer
kill "$server"
port=$((port + 1))

# Two handshakes of which nobody is asked for the secrets: the wire shows them, and whose they are.
serve $port wire.peer
tlskeytop --all --exclude-pid "$server" --exclude-name openssl --mode json --log-file wire.log >wire.json 2>wire.err &
tlskeytop=$!
until_true sentence ready wire.err || say problem "wire: not ready: $(tr '\n' ' ' <wire.err)"
handshake tls1_3
handshake tls1_2
has_two() { [ "$(grep -c '"state":"missing"' wire.json)" -ge 2 ]; }
until_true has_two
stop wire
grep '"state":"missing"' wire.json | grep -c '"reason":"excluded"' >excluded || :
say wire "$(cat excluded) rows"
[ "$(cat excluded)" = 2 ] || cut -c -400 wire.json wire.err
poweroff -f
