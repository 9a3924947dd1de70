// node as a server: SCRIPT CERT KEY
const fs = require("fs");
const tls = require("tls");

const [cert, key] = process.argv.slice(2).map((path) => fs.readFileSync(path));
const server = tls.createServer({ cert, key }, (socket) => socket.end("hello\n"));
server.listen(0, "127.0.0.1", () => console.log(`ACCEPT 127.0.0.1:${server.address().port}`));
