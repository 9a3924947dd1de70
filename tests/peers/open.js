// Connections that stay open, in node or bun: open.js client CERT TIMES PORT..., or open.js server VERSION CERT KEY.
//
// The client opens them, prints `open`, and carries one more request on each for each line of its standard input. The
// server prints `ACCEPT 127.0.0.1:PORT` and answers each request.
const fs = require("fs");
const readline = require("readline");
const tls = require("tls");

function client(certificate, times, ports) {
  const ca = fs.readFileSync(certificate);
  const connect = (port) =>
    new Promise((resolve) => {
      const socket = tls.connect({ port, host: "127.0.0.1", servername: "localhost", ca }, () => resolve(socket));
    });
  const request = (socket, number) =>
    new Promise((resolve) => {
      socket.once("data", resolve);
      socket.write(`GET /request-${number} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    });
  const wanted = ports.flatMap((port) => Array(Number(times)).fill(Number(port)));
  Promise.all(wanted.map(connect)).then((sockets) => {
    console.log("open");
    let number = 0;
    const lines = readline.createInterface({ input: process.stdin });
    lines.on("close", () => process.exit(0));
    lines.on("line", async () => {
      for (const socket of sockets) await request(socket, number);
      console.log(`said ${number++}`);
    });
  });
}

function server(version, certificate, key) {
  const options = {
    cert: fs.readFileSync(certificate),
    key: fs.readFileSync(key),
    minVersion: version,
    maxVersion: version,
  };
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  const listening = tls.createServer(options, (socket) => {
    socket.on("data", () => socket.write(answer));
    socket.on("error", () => {});
  });
  listening.listen(0, "127.0.0.1", () => console.log(`ACCEPT 127.0.0.1:${listening.address().port}`));
}

const [role, ...rest] = process.argv.slice(2);
if (role === "server") server(...rest);
else client(rest[0], rest[1], rest.slice(2));
