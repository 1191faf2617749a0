import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { Namespaces, type Host } from './namespaces.js';
import { Process } from './process.js';

const model = fileURLToPath(new URL('../../models/butterfly-stories.gguf', import.meta.url));
const env = { BUTTERFLY_TOKEN: 'a token of several hosts', BUTTERFLY_LOG: 'info' };
const dataPort = 7700;
const latencyMs = 5;

/** A worker that has no file, is reached through a proxy with a delay, and keeps what it fetches. */
async function startWorker(
  { namespace, address }: Host,
  join_: string,
  directory: string,
): Promise<Process[]> {
  const proxy = new Process([address, String(dataPort + 1), String(dataPort), String(latencyMs)], {
    namespace,
    script: fileURLToPath(new URL('../dist/proxy-main.js', import.meta.url)),
  });
  await proxy.line(/^Listening/);
  const args = [
    ['worker', '--join', join_, '--name', namespace, '--threads', '1', '--remote-only'],
    ['--data-host', '127.0.0.1', '--data-port', String(dataPort)],
    ['--advertise', `${address}:${dataPort + 1}`, '--cache-dir', join(directory, namespace)],
  ];
  return [proxy, new Process(args.flat(), { env, namespace })];
}

it('serves from workers on hosts of their own, whose links are slow and measured', async ({
  annotate,
  skip,
}) => {
  using namespaces = Namespaces.create(3, 200);
  if (!namespaces) {
    await annotate('Network namespaces are not allowed here.');
    skip();
    return;
  }
  expect(existsSync(model)).toBe(true);
  const [orchestrator, ...others] = namespaces.hosts;
  if (!orchestrator) throw new Error('There is no first host.');
  const directory = await mkdtemp(join(tmpdir(), 'butterfly-hosts-'));
  const { namespace, address } = orchestrator;
  const serve = new Process(
    [
      ['serve', model, '--workers', '0', '--wait-for', '2', '--stages', '2', '--host', address],
      ['--port', '8080', '--cluster-host', address, '--cluster-port', '7600'],
    ].flat(),
    { env, namespace },
  );
  const processes = [serve];
  try {
    await serve.line(/--join HOST:7600/);
    for (const host of others) processes.push(...(await startWorker(host, `${address}:7600`, directory)));
    await serve.line(/^Ready\.$/, 60_000);
    const status = new Process(
      ['status', '--url', `http://${address}:8080`, '--json', '--token', env.BUTTERFLY_TOKEN],
      {
        namespace,
      },
    );
    await status.line(/^\}/);
    const cluster = JSON.parse(status.lines.join('\n')) as {
      readonly plan: { readonly stages: readonly unknown[] };
      readonly workers: readonly {
        readonly loaded: { readonly orchestratorBytes: number; readonly peerBytes: number };
        readonly links: readonly {
          readonly toWorkerId: string | null;
          readonly latencyMicros: number;
          readonly isRelayed: boolean;
        }[];
      }[];
    };
    expect(cluster.plan.stages).toHaveLength(2);
    const neighbours = cluster.workers.flatMap(({ links }) =>
      links.filter(({ toWorkerId }) => toWorkerId !== null),
    );
    expect(neighbours).toHaveLength(1);
    expect(neighbours[0]?.isRelayed).toBe(false);
    expect(neighbours[0]?.latencyMicros).toBeGreaterThan(latencyMs * 1000 * 0.9);
    for (const { loaded } of cluster.workers)
      expect(loaded.orchestratorBytes + loaded.peerBytes).toBeGreaterThan(100_000);
    const asked = new Process(['--url', `http://${address}:8080`], {
      namespace,
      script: fileURLToPath(new URL('../dist/ask-main.js', import.meta.url)),
    });
    const [, text] = await asked.line(/^text (.+)$/);
    expect(text?.length).toBeGreaterThan(20);
  } finally {
    await Promise.all(processes.reverse().map((process) => process.stop()));
    await rm(directory, { recursive: true, force: true });
  }
});
