import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ButterflyError } from '@butterfly/common';
import type { ClusterDescription } from '@butterfly/orchestrator';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describedCluster, describedReplicas, describedWorker } from '../testing/cluster.js';
import { ClusterClient } from './cluster-client.js';
import { clusterSchema } from './cluster-schema.js';
import { drainWorker } from './drain.js';
import { formatCluster } from './format-cluster.js';
import { drawRunningPlan } from './running-plan.js';

describe('a cluster in the terminal', () => {
  it('has its stages in order, with predicted beside measured', () => {
    const text = formatCluster(describedCluster());
    expect(text).toMatch(
      /^a-model, 8 layers: ready\. All layers are live\. \(epoch 3\)\nPlan for throughput: 2 stages, cache f16\.$/m,
    );
    expect(text).toMatch(
      /^predicted +9\.00 ms +250\.0 tokens\/s +4\nmeasured +15\.5 ms +240\.0 tokens\/s +3\.8$/m,
    );
    const names = [...text.matchAll(/^name-of-(w\d)/gm)].map(([, id]) => id);
    expect(names).toEqual(['w1', 'w2', 'w3']);
    expect(text).toMatch(
      /^name-of-w1 +w1 +serving +0-3 +- +2 threads +1\.50 GiB of 8\.00 GiB +cache 1\.00 GiB, orchestrator 1\.0 MiB +Takes layers 0 to 3\.$/m,
    );
  });

  it('has a plan by an objective of a program’s own, with what it costs', () => {
    const cluster = describedCluster();
    if (!cluster.plan) throw new RangeError('the cluster has a plan');
    const plan = { ...cluster.plan, objective: { name: 'joules per token', cost: 0.0034567 } };
    const replicas = cluster.replicas.map((each) => ({ ...each, plan }));
    const own = clusterSchema.parse(JSON.parse(JSON.stringify({ ...cluster, plan, replicas })));
    expect(formatCluster(own)).toMatch(/^Plan for joules per token \(0\.00346\): 2 stages, cache f16\.$/m);
    expect(drawRunningPlan(own).join('\n')).toMatch(/; best\s+joules\s+per\s+token\s+\(0\.00346\)/u);
  });

  it('tells of every stage how long it takes beside what was predicted', () => {
    expect(formatCluster(describedCluster())).toMatch(
      /^name-of-w2 +w2 +serving +4-7 +8\.60 ms \(\+100%\) +2 /m,
    );
    const plan = drawRunningPlan(describedCluster()).join('\n');
    expect(plan).toContain('measured 8.60 ms (+100%)');
  });

  it('shows of a card what it and the host beside it take, as planned, and where experts are', () => {
    const card = { name: 'cuda0', kind: 'gpu', description: 'RTX' } as const;
    const cluster = describedCluster();
    const { plan } = cluster;
    const [first, second] = cluster.workers.slice(1);
    if (!plan || !first || !second) throw new RangeError('the cluster has two stages');
    const host = { memoryBytes: 60 * 2 ** 30, plannedBytes: 20 * 2 ** 30, expertLayers: 3 };
    const text = formatCluster({
      ...cluster,
      workers: [
        { ...first, device: card, host },
        { ...second, device: card, host: { ...host, plannedBytes: 0, expertLayers: 0 } },
      ],
    });
    expect(text).toMatch(
      /^name-of-w2 .* cuda0 \(RTX\); experts of 3 layers on 2 threads +1\.00 GiB of 8\.00 GiB, 20\.00 GiB of 60\.00 GiB beside it /mu,
    );
    expect(text).toMatch(/^name-of-w1 .* cuda0 \(RTX\) +1\.00 GiB of 8\.00 GiB +cache/mu);
  });

  it('says what is missing', () => {
    const text = formatCluster(
      describedCluster({
        isReady: false,
        detail: 'Loading.',
        epoch: null,
        plan: null,
        measured: null,
        workers: [
          describedWorker('w1', {
            state: 'loading',
            residentBytes: null,
            loaded: null,
            loading: { loadedBytes: 50, totalBytes: 200 },
          }),
        ],
        trouble: { code: 'WORKER_LOST', message: 'It died.' },
        notes: ['0 of 1 spares held.', 'And more.'],
      }),
    );
    expect(text).toContain(
      'not ready. Loading.\nTrouble: WORKER_LOST: It died.\nNote: 0 of 1 spares held.\nNote: And more.\n',
    );
    expect(text).toMatch(/ loading 25% +- +- +2 threads +8\.00 GiB +-$/m);
    expect(formatCluster(describedCluster({ workers: [] }))).toContain('No worker has joined.');
  });

  it('has several replicas one after the other, and what they are together', () => {
    const text = formatCluster(describedReplicas());
    expect(text).toContain('ready. 1 of 2 replicas are ready; replica 2: loading\n');
    expect(text).toMatch(
      /^1 +ready +3 +2 +250\.0 tokens\/s +4 +0\n2 +loading +- +1 +80\.0 tokens\/s +0 +0$/m,
    );
    expect(text).toContain('Plan for throughput: 3 stages in 2 replicas, cache f16.');
    expect(text).toMatch(/^predicted +12\.0 ms +330\.0 tokens\/s +8$/m);
    const rows = [...text.matchAll(/^(\d) +name-of-(w\d).*?(\S+ \S+ \S+)\.$/gm)].map(([, ...row]) =>
      row.join(' '),
    );
    expect(rows).toEqual(['1 w1 0 to 3', '1 w2 4 to 7', '2 w3 Takes all layers']);
    const lines = drawRunningPlan(describedReplicas()).join('\n');
    expect(lines).toMatch(
      /^Replica 1: ready\na-model: 2 of 2 workers, .*\n(?:.*\n)+Replica 2: loading\na-model: 1 of 1 workers/m,
    );
    expect(lines).toMatch(/^Over the last 60 s/m);
  });

  it('shows the plan in force, with what can be compared', () => {
    const lines = drawRunningPlan(describedCluster()).join('\n');
    expect(lines).toContain('a-model: 2 of 3 workers, 8 layers, KV cache f16 of 4096 tokens');
    expect(lines).toMatch(/All sequences together +250\.0 tokens\/s +measured 240\.0 tokens\/s \(-4%\)/);
    expect(lines).toMatch(/A token of one stream +9\.00 ms$/m);
    expect(lines).toContain('through the orchestrator');
    expect(lines).toMatch(/^Over the last 60 s 3\.8 streams ran at once/m);
    const alone = { windowMs: 1000, tokensPerSecond: 100, microsPerToken: 9900, concurrency: 1 };
    expect(drawRunningPlan(describedCluster({ measured: alone })).join('\n')).toMatch(
      /All sequences together +250\.0 tokens\/s\nA token of one stream +9\.00 ms +measured 9\.90 ms \(\+10%\)/,
    );
    expect(() => drawRunningPlan(describedCluster({ plan: null }))).toThrow(
      expect.objectContaining({ code: 'CLUSTER_NOT_READY' }),
    );
  });
});

describe('a server that is asked', () => {
  let server: Server;
  let url: string;
  let answer: { status: number; body: string };
  const seen: string[] = [];

  beforeEach(async () => {
    seen.length = 0;
    server = createServer((request, response) => {
      seen.push(`${request.method} ${request.url} ${request.headers.authorization ?? 'nobody'}`);
      response.writeHead(answer.status, { location: 'http://127.0.0.1:9/' }).end(answer.body);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  it('describes its cluster, to the one who has the token', async () => {
    const cluster = describedCluster();
    answer = { status: 200, body: JSON.stringify({ ...cluster, newField: 1 }) };
    expect(await new ClusterClient(`${url}/v1/`, 'secret').describe()).toEqual(cluster);
    answer = { status: 202, body: '{"workerId":"w1"}' };
    expect(await new ClusterClient(url, null).drain('a/b c')).toBe('w1');
    expect(seen).toEqual(['GET /cluster Bearer secret', 'POST /cluster/workers/a%2Fb%20c/drain nobody']);
  });

  it.each([
    [403, '{"error":{"code":"ACCESS_DENIED","message":"No."}}', 'ACCESS_DENIED', /^No\.$/],
    [404, '{"detail":"Not Found"}', 'PROTOCOL_INVALID', /status 404/],
    [200, '<html>', 'PROTOCOL_INVALID', /no JSON/],
    [200, '{"model":{}}', 'PROTOCOL_INVALID', /upgrade the older side/],
    [302, '', 'PEER_UNREACHABLE', /butterfly serve/],
  ])('and answers %d %s', async (status, body, code, message) => {
    answer = { status, body };
    await expect(new ClusterClient(url, 'secret').describe()).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
  });

  it('and is not there, or no server at all', async () => {
    await expect(new ClusterClient('http://127.0.0.1:9', null).describe()).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
    });
    expect(() => new ClusterClient('localhost:8080', null)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }),
    );
  });
});

describe('draining', () => {
  type State = ClusterDescription['drains'][number]['state'];
  /** Describes a cluster with these states of the drain one after the other, the last for good. */
  function server(states: readonly (State | 'forgotten')[], changes: Partial<ClusterDescription> = {}) {
    let looks = 0;
    return {
      drain: (name: string) => Promise.resolve(name.replace('name-of-', '')),
      describe: () => {
        const state = states[Math.min(looks++, states.length - 1)] ?? 'forgotten';
        const own = state === 'forgotten' ? [] : [{ workerId: 'w2', name: 'name-of-w2', state }];
        const drains = [{ workerId: 'w1', name: 'name-of-w1', state: 'gone' as const }, ...own];
        return Promise.resolve(describedCluster({ drains, ...changes }));
      },
    };
  }
  let nowMs = 0;
  const clock = { nowMs: () => (nowMs += 100) };
  const options = { name: 'name-of-w2', timeoutMs: 30_000, clock, pollMs: 0 };

  it('waits until the worker was sent away', async () => {
    const looks: unknown[] = [];
    const onLook = ({ drains }: ClusterDescription) => looks.push(drains[1]?.state);
    await drainWorker(server(['draining', 'lost', 'draining', 'gone']), { ...options, onLook });
    // It was lost in between, came back under another id, and was emptied all the same.
    expect(looks).toEqual(['draining', 'lost', 'draining', 'gone']);
  });

  it('does not wait for ever', async () => {
    const trouble = { code: 'MODEL_TOO_LARGE', message: 'Nobody else has room.' };
    const failure = drainWorker(server(['draining'], { trouble }), { ...options, timeoutMs: 1000 });
    await expect(failure).rejects.toBeInstanceOf(ButterflyError);
    await expect(failure).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringMatching(/not empty after 1 s \(Nobody else has room\.\)/) as string,
    });
  });

  it.each([
    ['stays after all', ['draining', 'kept'], 1, /not being emptied any more/],
    ['is lost and does not come back', ['draining', 'lost'], 150, /was lost before it was empty/],
    ['is unknown to a server that was restarted', ['draining', 'forgotten'], 1, /not being emptied any more/],
  ] as const)('says so when the worker %s', async (_, states, looksMin, message) => {
    let looks = 0;
    const onLook = (): void => {
      looks += 1;
    };
    await expect(drainWorker(server(states), { ...options, onLook })).rejects.toMatchObject({
      code: 'WORKER_LOST',
      message: expect.stringMatching(message) as string,
    });
    expect(looks).toBeGreaterThan(looksMin);
  });
});
