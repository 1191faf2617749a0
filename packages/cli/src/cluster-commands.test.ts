import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { run, Butterfly } from './testing/butterfly.js';
import { HubServer } from './testing/hub-server.js';
import { Folder, model } from './testing/models.js';
import { Server, startWorker } from './testing/server.js';

interface ClusterNow {
  readonly plan: { readonly stages: readonly { readonly workerId: string }[] };
  readonly workers: readonly {
    readonly workerId: string;
    readonly name: string;
    readonly layers: readonly [number, number] | null;
  }[];
}

async function askCluster(server: Server): Promise<ClusterNow> {
  return (await (await fetch(`${server.url}/cluster`)).json()) as ClusterNow;
}

describe('a running server', () => {
  it('is shown by status, and its plan by plan --of', async () => {
    await using server = await new Server(['--workers', '2']).ready();
    const request = { model: 'aidreams-260k', prompt: 'The', max_tokens: 50, temperature: 0 };
    const ask = async () => {
      await server.openai.completions.create(request);
      return Promise.all([
        run(['status', '--url', server.url]),
        run(['status', '--url', server.url, '--json']),
        run(['plan', '--of', server.url]),
      ]);
    };
    const measuredIn = (stdout: readonly string[]) =>
      stdout.filter((line) => /^│ +measured [\d.]+ \S+ \([+-]\d+%\)$/.test(line));
    let [status, json, plan] = await ask();
    // A better plan may begin between the tokens and the question, with nothing measured yet.
    while (measuredIn(plan.stdout).length === 0) [status, json, plan] = await ask();
    expect(status).toMatchObject({ code: 0, stderr: [] });
    expect(status.stdout.join('\n')).toMatch(/^local-1 +w\d +serving +\d-\d +[\d.]+ \S+ \([+-]\d+%\) +1 /m);
    const cluster = JSON.parse(json.stdout.join('\n')) as {
      isReady: boolean;
      workers: unknown[];
      plan: { stages: unknown[] };
    };
    expect(cluster).toMatchObject({ isReady: true });
    expect([cluster.workers.length, cluster.plan.stages.length]).toEqual([2, 2]);
    expect(plan).toMatchObject({ code: 0, stderr: [] });
    expect(plan.stdout[0]).toMatch(/2 of 2 workers, 4 layers/);
    expect(measuredIn(plan.stdout)).toHaveLength(2);

    using folder = new Folder();
    const file = folder.write('workers.json', json.stdout.join('\n'));
    const again = await run(['plan', model, '--workers-file', file, '--stages', '2', '--ctx', '128']);
    expect(again).toMatchObject({ code: 0, stderr: [] });
    expect(again.stdout[0]).toMatch(/2 of 2 workers/);
  });

  it('is followed by top and logs, and told of by a report without secrets', async () => {
    await using server = await new Server(['--workers', '2', '--stages', '2']).ready();
    const prompt = 'A prompt that nobody else should read';
    await server.openai.completions.create({ model: 'aidreams-260k', prompt, max_tokens: 5 });
    const at = ['--url', server.url];
    const [top, logs, report, status] = await Promise.all([
      run(['top', '--once', ...at]),
      run(['logs', '--json', ...at]),
      run(['report', ...at]),
      run(['status', '--url', 'http://127.0.0.1:9', '--watch']),
    ]);
    expect(top).toMatchObject({ code: 0, stderr: [] });
    expect(top.stdout.join('\n')).toMatch(/^aidreams-260k +1 +local-\d +serving +0-/m);
    expect(top.stdout.join('\n')).toMatch(/^req_\w+ +aidreams-260k +done +\d+ +0 +5 /m);
    const kinds = logs.stdout
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { kind: string }).kind);
    expect(kinds.filter((kind) => kind === 'workerJoined')).toHaveLength(2);
    expect(kinds).toContain('planLive');
    const told = report.stdout.join('\n');
    expect(JSON.parse(told)).toMatchObject({
      server: {
        cluster: { isReady: true },
        requests: { requests: [{ state: 'done', outputTokens: 5 }] },
        events: {
          events: expect.arrayContaining([expect.objectContaining({ kind: 'planLive' })]) as unknown,
        },
      },
    });
    for (const secret of ['local-1', '127.0.0.1', 'nobody else', 'bf1-']) expect(told).not.toContain(secret);
    expect([status.code, status.stderr.join()]).toEqual([4, expect.stringContaining('PEER_UNREACHABLE')]);
  });

  it('loses a drained worker and no stream', async () => {
    await using server = await new Server(['--workers', '1', '--ctx', '2048']).ready();
    await using guest = startWorker(server, ['--name', 'guest']);
    await guest.line(/^Joined/);
    const request = { model: 'aidreams-260k', prompt: 'The', max_tokens: 1500, temperature: 0 };
    const whole = await server.openai.completions.create(request);
    const streamed = server.openai.completions.create(request);
    const drained = await run(['drain', 'guest', '--url', server.url]);
    expect(drained).toMatchObject({
      code: 0,
      stdout: ['guest is empty and has left the cluster.'],
      stderr: [],
    });
    expect(await guest.ended()).toEqual({ code: 0, signal: null });
    expect((await streamed).choices[0]?.text).toBe(whole.choices[0]?.text);
    const unknown = await run(['drain', 'guest', '--url', server.url]);
    expect([unknown.code, unknown.stderr[0]]).toEqual([2, expect.stringMatching(/NOT_FOUND: .*local-1/)]);
  });

  it('empties a worker that serves while streams run through it', async () => {
    // What a new plan computes again has other last bits otherwise, and may tip a near tie.
    const args = ['--workers', '2', '--stages', '2', '--ctx', '2048', '--deterministic'];
    const request = { model: 'aidreams-260k', prompt: 'The', max_tokens: 1500, temperature: 0 };
    await using server = await new Server(args).ready();
    await server.plans(1);
    const whole = await server.openai.completions.create(request);
    const before = await askCluster(server);
    const leaving = before.workers.find(({ workerId }) => workerId === before.plan.stages[0]?.workerId);
    expect(before.plan.stages).toHaveLength(2);

    let drained: ReturnType<typeof run> | null = null;
    const hasNewPlan = () => server.records('The plan is live.').length > 1;
    // One stream may be over before the command has even started.
    while (!hasNewPlan()) {
      let text = '';
      for await (const { choices } of await server.openai.completions.create({ ...request, stream: true })) {
        text += choices[0]?.text ?? '';
        drained ??= run(['drain', leaving?.name ?? '', '--url', server.url]);
      }
      expect(text).toBe(whole.choices[0]?.text);
    }
    expect(await drained).toMatchObject({ code: 0, stderr: [] });
    const after = await askCluster(server);
    expect(after.workers.map(({ layers }) => layers)).toEqual([[0, 3]]);
    expect(after.plan.stages.map(({ workerId }) => workerId)).toEqual([before.plan.stages[1]?.workerId]);
    // Nobody starts it again.
    expect(server.workerPids).toHaveLength(2);
  });
});

describe('plan', () => {
  it('measures this machine', async () => {
    using folder = new Folder();
    const env = { XDG_CACHE_HOME: folder.path };
    const { code, stdout, stderr } = await run(['plan', model, '--threads', '1', '--json'], env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: [] });
    expect(JSON.parse(stdout.join('\n'))).toMatchObject({
      plan: { objective: 'throughput', stages: [{ workerId: 'local-1', layerStart: 0, layerEnd: 4 }] },
      without: [{ workerId: 'local-1', tokensPerSecond: null }],
    });
  });

  it('keeps spares', async () => {
    using folder = new Folder();
    const workers = ['a', 'b', 'c'].map((name) => ({ name, memory: '4G', decodeTokensPerSecond: 10 }));
    const file = folder.write('workers.json', JSON.stringify({ workers }));
    const args = ['plan', model, '--workers-file', file, '--stages', '3', '--spares', '1'];
    const { stdout } = await run(args);
    expect(stdout[0]).toMatch(/2 of 3 workers/);
    expect(stdout.join('\n')).toMatch(/^- [abc] +Is kept as a spare/m);
  });

  it('draws each replica', async () => {
    using folder = new Folder();
    const workers = ['a', 'b'].map((name) => ({ name, memory: '4G', decodeTokensPerSecond: 10 }));
    const network = { latencyMs: 20, bandwidth: '100Mbit' };
    const file = folder.write('workers.json', JSON.stringify({ workers, network }));
    const args = ['plan', model, '--workers-file', file, '--replicas', '2'];
    const [picture, json] = await Promise.all([run(args), run([...args, '--json'])]);
    expect(picture.stdout.filter((line) => /^Replica \d of 2$/.test(line))).toHaveLength(2);
    expect(picture.stdout.at(-1)).toMatch(/^All replicas together make \d+\.\d tokens\/s\. The KV cache is/);
    const { replicas } = JSON.parse(json.stdout.join('\n')) as {
      replicas: { plan: { stages: unknown[] } }[];
    };
    expect(replicas.map(({ plan }) => plan.stages.length)).toEqual([1, 1]);
  });

  it('says what does not fit', async () => {
    using folder = new Folder();
    const file = folder.write(
      'workers.json',
      JSON.stringify({ workers: [{ name: 'tiny', memory: '1M', decodeTokensPerSecond: 10 }] }),
    );
    const { code, stderr } = await run(['plan', model, '--workers-file', file]);
    expect([code, stderr]).toEqual([3, [expect.stringMatching(/^butterfly: MODEL_TOO_LARGE: /)]]);
  });
});

describe('pull', () => {
  it('brings a model that serve then takes by its name', async () => {
    using cache = new Folder();
    await using hub = await HubServer.start({ 'story.gguf': readFileSync(model) });
    hub.token = 'hf_secret';
    const env = { XDG_CACHE_HOME: cache.path, HF_ENDPOINT: hub.url };
    const refused = await run(['pull', 'hf:org/repo'], {
      ...env,
      HF_TOKEN: 'hf_other',
      BUTTERFLY_LOG: 'trace',
    });
    expect([refused.code, refused.stderr.at(-1)]).toEqual([
      4,
      expect.stringMatching(/^butterfly: ACCESS_DENIED: /),
    ]);
    expect([...refused.stdout, ...refused.stderr].join('\n')).not.toContain('hf_other');
    const early = await run(['inspect', 'hf:org/repo'], env);
    expect([early.code, early.stderr[0]]).toEqual([3, expect.stringMatching(/butterfly pull hf:org\/repo/)]);
    const pulled = await run(['pull', 'hf:org/repo'], { ...env, HUGGING_FACE_HUB_TOKEN: 'hf_secret' });
    expect([pulled.code, pulled.stdout]).toEqual([0, [expect.stringMatching(/org.repo.story\.gguf$/)]]);
    expect(readFileSync(pulled.stdout[0] ?? '').equals(readFileSync(model))).toBe(true);
    const inspected = await run(['inspect', 'hf:org/repo:story.gguf', '--json'], env);
    expect(JSON.parse(inspected.stdout.join('\n'))).toMatchObject({ layers: 4 });
  });

  it('that is interrupted goes on the next time', async () => {
    using cache = new Folder();
    await using hub = await HubServer.start({ 'story.gguf': readFileSync(model) });
    const env = { XDG_CACHE_HOME: cache.path, HF_ENDPOINT: hub.url };
    hub.stallsAfterBytes = 500_000;
    await using butterfly = new Butterfly(['pull', 'hf:org/repo'], { env });
    await hub.stalled;
    butterfly.kill('SIGINT');
    expect(await butterfly.ended()).toEqual({ code: 1, signal: null });
    expect(butterfly.stderr.at(-1)).toMatch(/^butterfly: CANCELLED: .*goes on from there/);
    hub.stallsAfterBytes = null;
    const { code, stdout } = await run(['pull', 'hf:org/repo'], env);
    expect(code).toBe(0);
    expect(readFileSync(stdout[0] ?? '').equals(readFileSync(model))).toBe(true);
  });

  it.each([
    [['pull', 'org/repo'], /^butterfly: CONFIG_INVALID: .*hf:ORG\/REPO/],
    [['pull', 'hf:org/repo', '--hub-url', 'huggingface.co'], /^butterfly: CONFIG_INVALID: .*https/],
    [['status', '--url', 'nonsense'], /^butterfly: CONFIG_INVALID: .*http:\/\/127\.0\.0\.1:8080/],
    [['worker'], /^butterfly: CONFIG_INVALID: .*--join.*--discover/],
  ])('is told how from %j', async (args, line) => {
    const { code, stderr } = await run(args);
    expect([code, stderr]).toEqual([2, [expect.stringMatching(line)]]);
  });
});
