// deno as a server: SCRIPT CERT KEY
const [cert, key] = Deno.args.map((path) => Deno.readTextFileSync(path));
const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
console.log(`ACCEPT 127.0.0.1:${listener.addr.port}`);
for await (const connection of listener) {
  await connection.write(new TextEncoder().encode("hello\n"));
  connection.close();
}
