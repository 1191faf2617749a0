import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect as connectNats } from '@nats-io/transport-node';

/** Whether there is a `nats-server` here. */
export const hasNats = spawnSync('nats-server', ['--version']).status === 0;

const startMs = 30_000;

/** Servers of NATS with JetStream, on this machine, of one cluster where they are several. */
export class NatsServers {
  readonly #processes = new Map<string, ChildProcess>();

  private constructor(
    private readonly directory: string,
    /** `HOST:PORT` of each. */
    readonly addresses: readonly string[],
  ) {}

  /** Starts so many, and waits until they take connections. */
  static async start(count: number): Promise<NatsServers> {
    const directory = await mkdtemp(join(tmpdir(), 'butterfly-nats-'));
    const ports = await freePorts(2 * count);
    const clients = ports.slice(0, count);
    const servers = new NatsServers(
      directory,
      clients.map((port) => `127.0.0.1:${port}`),
    );
    const routes = ports.slice(count);
    for (const [at, port] of clients.entries())
      servers.#start(`n${at}`, port, count === 1 ? null : { port: routes[at] ?? 0, routes });
    for (const port of clients) await answering(port);
    return servers;
  }

  /** Asks the servers themselves. */
  async manage<T>(work: (manager: JetStreamManager) => Promise<T>): Promise<T> {
    const connection = await connectNats({ servers: [...this.addresses] });
    try {
      return await work(await jetstreamManager(connection, { checkAPI: false }));
    } finally {
      await connection.close();
    }
  }

  /** As a crash of its machine would end it. */
  async kill(name: string): Promise<void> {
    const process = this.#processes.get(name);
    if (!process) throw new Error(`There is no ${name}.`);
    this.#processes.delete(name);
    const exited = once(process, 'exit');
    process.kill('SIGKILL');
    await exited;
  }

  async stop(): Promise<void> {
    for (const name of [...this.#processes.keys()]) await this.kill(name);
    await rm(this.directory, { recursive: true });
  }

  #start(name: string, port: number, cluster: { port: number; routes: readonly number[] } | null): void {
    const own = ['-a', '127.0.0.1', '-p', String(port), '-n', name, '-js', '-sd', join(this.directory, name)];
    const others = cluster && [
      ...['--cluster_name', 'test', '--cluster', `nats://127.0.0.1:${cluster.port}`],
      ...['--routes', cluster.routes.map((each) => `nats://127.0.0.1:${each}`).join(',')],
    ];
    const args = [...own, ...(others ?? []), '-l', join(this.directory, `${name}.log`)];
    this.#processes.set(name, spawn('nats-server', args, { stdio: 'ignore' }));
  }
}

/** Ports that nobody has now. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers: Server[] = [];
  for (let at = 0; at < count; at++) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
  }
  return Promise.all(
    servers.map(async (server) => {
      const address = server.address();
      server.close();
      await once(server, 'close');
      if (typeof address !== 'object' || address === null) throw new Error('A server has no port.');
      return address.port;
    }),
  );
}

async function answering(port: number): Promise<void> {
  for (const deadline = Date.now() + startMs; ;) {
    const socket = connect(port, '127.0.0.1');
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isThere) return;
    if (Date.now() > deadline) throw new Error(`No nats-server on port ${port}.`);
    await wait(50);
  }
}
