// deno: rustls. SCRIPT CERT TIMES PORT...
const [certificate, times, ...ports] = Deno.args;
const caCerts = [Deno.readTextFileSync(certificate)];

console.log("waiting");
await Deno.stdin.read(new Uint8Array(16));
for (const port of ports) {
  for (let number = 0; number < Number(times); number++) {
    const tls = await Deno.connectTls({ hostname: "localhost", port: Number(port), caCerts });
    await tls.write(new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
    const buffer = new Uint8Array(4096);
    // The answer's first bytes come after the server's last flight.
    await tls.read(buffer);
    tls.close();
  }
}
