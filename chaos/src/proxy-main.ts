import { TcpProxy } from '@butterfly/testkit';

/** A proxy that delays, as a process of its own: HOST PORT TARGET_PORT LATENCY_MS */
const [host = '', port, targetPort, latencyMs] = process.argv.slice(2);
await TcpProxy.start({
  host,
  port: Number(port),
  to: { host: '127.0.0.1', port: Number(targetPort) },
  latencyMs: Number(latencyMs),
});
process.stdout.write('Listening.\n');
