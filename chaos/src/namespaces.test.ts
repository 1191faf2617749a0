import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { Namespaces, type Host } from './namespaces.js';
import { Process } from './process.js';

const model = fileURLToPath(
  new URL('../../packages/butterfly/models/butterfly-stories.gguf', import.meta.url),
);
const env = { BUTTERFLY_LOG: 'info' };
const dataPort = 7700;
const latencyMs = 5;
const megabits = 200;
const cardBytesPerSecond = (megabits * 1e6) / 8;

interface Link {
  readonly toWorkerId: string | null;
  readonly latencyMicros: number;
  readonly bytesPerSecond: number;
  readonly isRelayed: boolean;
}

interface Cluster {
  readonly plan: { readonly stages: readonly { readonly isRelayed: boolean }[] };
  readonly workers: readonly {
    readonly loaded: { readonly orchestratorBytes: number; readonly peerBytes: number };
    readonly links: readonly Link[];
  }[];
}

/** Stands before the data port of a worker, with a delay. Without it nobody can dial that. */
async function startDoor({ namespace, address }: Host): Promise<Process> {
  const proxy = new Process([address, String(dataPort + 1), String(dataPort), String(latencyMs)], {
    namespace,
    script: fileURLToPath(new URL('../dist/proxy-main.js', import.meta.url)),
  });
  await proxy.line(/^Listening/);
  return proxy;
}

/** A worker that has no file, whose own port only its own host can dial, and that keeps what it fetches. */
function startWorker({ namespace, address }: Host, join_: string, directory: string, token: string): Process {
  const args = [
    ['worker', '--join', join_, '--name', namespace, '--threads', '1', '--remote-only'],
    ['--data-host', '127.0.0.1', '--data-port', String(dataPort)],
    ['--advertise', `${address}:${dataPort + 1}`, '--cache-dir', join(directory, namespace)],
    ['--data-dir', join(directory, 'data')],
  ];
  return new Process(args.flat(), { env: { ...env, BUTTERFLY_TOKEN: token }, namespace });
}

/** What a cluster of two workers that can or cannot dial each other is like, and what it says. */
async function serveFrom(
  { hosts }: Namespaces,
  canDial: boolean,
): Promise<{ readonly cluster: Cluster; readonly text: string }> {
  const [orchestrator, ...others] = hosts;
  if (!orchestrator) throw new Error('There is no first host.');
  const directory = await mkdtemp(join(tmpdir(), 'butterfly-hosts-'));
  const { namespace, address } = orchestrator;
  const processes: Process[] = [];
  const start = (process: Process): Process => {
    processes.push(process);
    return process;
  };
  const serve = start(
    new Process(
      [
        [
          'serve',
          model,
          '--workers',
          '0',
          '--wait-for',
          '2',
          '--stages',
          '2',
          '--host',
          address,
          '--no-require-key',
        ],
        ['--port', '8080', '--cluster-host', address, '--cluster-port', '7600', '--deterministic'],
        ['--data-dir', join(directory, 'data')],
      ].flat(),
      { env, namespace },
    ),
  );
  try {
    const [, token = ''] = await serve.line(/TOKEN=(\S+) .*--join HOST:7600/);
    for (const host of others) {
      if (canDial) start(await startDoor(host));
      start(startWorker(host, `${address}:7600`, directory, token));
    }
    await serve.line(/^Ready\.$/);
    const url = `http://${address}:8080`;
    const asked = start(
      new Process(['--url', url], {
        namespace,
        script: fileURLToPath(new URL('../dist/ask-main.js', import.meta.url)),
      }),
    );
    const [, text = ''] = await asked.line(/^text (.+)$/);
    const status = start(new Process(['status', '--url', url, '--json', '--token', token], { namespace }));
    await status.line(/^\}/);
    return { cluster: JSON.parse(status.lines.join('\n')) as Cluster, text };
  } finally {
    await Promise.all(processes.reverse().map((process) => process.stop()));
    await rm(directory, { recursive: true, force: true });
  }
}

function linksOf({ workers }: Cluster): { readonly toOrchestrator: Link[]; readonly toNext: Link[] } {
  const links = workers.flatMap((each) => each.links);
  return {
    toOrchestrator: links.filter(({ toWorkerId }) => toWorkerId === null),
    toNext: links.filter(({ toWorkerId }) => toWorkerId !== null),
  };
}

/** Measured, rather than the gigabit that is assumed otherwise. However much else the machine does, no link is faster than its card. */
function expectMeasured({ bytesPerSecond }: Link): void {
  expect(bytesPerSecond).toBeGreaterThan(0);
  expect(bytesPerSecond).toBeLessThan(cardBytesPerSecond * 2);
}

it('serves from workers on hosts of their own, whose links are measured, and goes round what cannot be dialled', async ({
  annotate,
  skip,
}) => {
  using namespaces = Namespaces.create(3, megabits);
  if (!namespaces) {
    await annotate('Network namespaces are not allowed here.');
    skip();
    return;
  }
  expect(existsSync(model)).toBe(true);
  const direct = await serveFrom(namespaces, true);
  expect(direct.text.length).toBeGreaterThan(20);
  expect(direct.cluster.plan.stages.map(({ isRelayed }) => isRelayed)).toEqual([false, false]);
  const [link, ...more] = linksOf(direct.cluster).toNext;
  if (!link) throw new Error('There is no link from one worker to the other.');
  expect(more).toEqual([]);
  expect(link.latencyMicros).toBeGreaterThan(latencyMs * 1000 * 0.9);
  expectMeasured(link);
  for (const { loaded } of direct.cluster.workers)
    expect(loaded.orchestratorBytes + loaded.peerBytes).toBeGreaterThan(100_000);

  const relayed = await serveFrom(namespaces, false);
  expect(relayed.cluster.plan.stages.map(({ isRelayed }) => isRelayed)).toEqual([true, true]);
  expect(relayed.text).toBe(direct.text);
  const { toOrchestrator } = linksOf(relayed.cluster);
  expect(toOrchestrator).toHaveLength(2);
  for (const each of toOrchestrator) expectMeasured(each);
});
