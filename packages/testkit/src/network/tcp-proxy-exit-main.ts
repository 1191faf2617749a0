import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { TcpProxy } from './tcp-proxy.js';

// This event comes when nothing keeps the process any more; Node 20 may spin in its own cleanup after that.
process.once('exit', (code) => process.exit(code));

/** A process that ends by itself if a closed proxy leaves nothing behind, in whatever state it was closed. */
const [state = ''] = process.argv.slice(2);
const bytes = Buffer.alloc(4 << 20);
const server = createServer((socket) => {
  socket.on('error', () => undefined);
  socket.resume();
  socket.write(bytes);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;
const proxy = await TcpProxy.start({ to: { host: '127.0.0.1', port }, latencyMs: 1 });
if (state.includes('nobody')) server.close();
if (state.includes('crawls')) proxy.crawl(200);
// One side goes at once, one stays, one is half closed; all leave bytes in the proxy.
const clients = Array.from({ length: 3 }, () => connect(proxy.port, '127.0.0.1'));
for (const client of clients) {
  client.on('error', () => undefined);
  client.resume();
  client.write(bytes);
}
await new Promise((resolve) => setTimeout(resolve, 200));
if (state.includes('cut')) proxy.cut();
clients[0]?.resetAndDestroy();
clients[1]?.end();
await new Promise((resolve) => setTimeout(resolve, 50));
await proxy.close();
if (server.listening) server.close();
for (const client of clients) client.unref();
process.stdout.write('closed\n');
