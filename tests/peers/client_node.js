// node and bun: OpenSSL and BoringSSL linked statically into the executable. SCRIPT CERT TIMES PORT...
// Old versions of node do not know the names with `node:`.
const fs = require("fs");
const tls = require("tls");

const [certificate, times, ...ports] = process.argv.slice(2);
const ca = fs.readFileSync(certificate);

function handshake(port) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: "127.0.0.1", servername: "localhost", port: Number(port), ca }, () => {
      socket.write("GET / HTTP/1.0\r\n\r\n");
    });
    socket.on("data", () => {});
    socket.on("error", reject);
    socket.on("close", resolve);
  });
}

console.log("waiting");
process.stdin.once("data", async () => {
  try {
    for (const port of ports) {
      for (let number = 0; number < Number(times); number++) await handshake(port);
    }
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
});
