import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { allowedCpus } from '@butterfly/ggml';
import { describe, expect, it } from 'vitest';
import { Butterfly, run } from './testing/butterfly.js';
import { model } from './testing/models.js';
import { Server } from './testing/server.js';

const isLinux = process.platform === 'linux';
const cpus = allowedCpus() ?? [];

/** The CPUs that each thread of a process may run on, each list once. */
function cpuListsOf(pid: number): string[] {
  const lists = readdirSync(`/proc/${pid}/task`).map((id) => {
    const status = readFileSync(`/proc/${pid}/task/${id}/status`, 'utf8');
    return /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '';
  });
  return [...new Set(lists)];
}

describe.runIf(isLinux && cpus.length >= 2)('local workers that share a machine', () => {
  it('keep to cores of their own, with all of their threads, and after a restart too', async () => {
    await using server = await new Server(['--workers', '2']).ready();
    const lists = server.stages.map(({ pid }) => cpuListsOf(pid));
    expect(lists.map((each) => each.length)).toEqual([1, 1]);
    expect(new Set(lists.flat()).size).toBe(2);
    const killed = server.stages[0]?.pid ?? 0;
    process.kill(killed, 'SIGKILL');
    await server.until('a worker in its place', () =>
      server.records('A worker joined.').length > 2 ? true : null,
    );
    const pids = server.workerPids.filter((pid) => pid !== killed);
    expect(pids.flatMap(cpuListsOf).sort()).toEqual(lists.flat().sort());
  });

  it('run anywhere with --no-pin, and so does a worker that is alone', async () => {
    const anywhere = [cpuListsOf(process.pid)[0] ?? ''];
    await using server = await new Server(['--workers', '2', '--no-pin']).ready();
    for (const { pid } of server.stages) expect(cpuListsOf(pid)).toEqual(anywhere);
    await using alone = await new Server().ready();
    for (const { pid } of alone.stages) expect(cpuListsOf(pid)).toEqual(anywhere);
  });
});

describe.runIf(isLinux)('worker --cpus', () => {
  it('pins all threads, and has one thread for each CPU by default', async () => {
    const cpu = String(cpus.at(-1));
    await using server = new Server(['--workers', '0']);
    await server.line(/loading/);
    const args = ['worker', '--join', `127.0.0.1:${server.clusterPort}`, '--cpus', cpu];
    await using worker = new Butterfly(args, { env: { BUTTERFLY_TOKEN: server.token } });
    await worker.line(/^Joined .* with 1 threads\.$/);
    expect(cpuListsOf(worker.pid)).toEqual([cpu]);
  });

  it('refuses CPUs that there are not', async () => {
    const { code, stderr } = await run(['worker', '--join', 'a:1', '--cpus', '0,8000']);
    expect(code).toBe(2);
    expect(stderr).toEqual([expect.stringMatching(/^butterfly: CONFIG_INVALID: CPU .*8000 cannot be used/)]);
  });
});

describe('worker --cpus', () => {
  it.each(['two', '1-0', '9999'])('refuses %j', async (list) => {
    const { code, stderr } = await run(['worker', '--join', 'a:1', '--cpus', list]);
    expect(code).toBe(2);
    expect(stderr).toEqual([expect.stringMatching(/^butterfly: CONFIG_INVALID: .*no list of CPUs/)]);
  });

  it.runIf(!isLinux)('is refused where there is no pinning', async () => {
    const { code, stderr } = await run(['worker', '--join', 'a:1', '--cpus', '0']);
    expect({ code, line: stderr[0] }).toEqual({
      code: 2,
      line: expect.stringMatching(/on Linux only/) as string,
    });
  });
});

describe('more threads than cores', () => {
  const cores = availableParallelism();

  it('are said on standard error', async () => {
    await using server = new Server(['--threads', String(cores + 1)]);
    await server.until(
      'a warning',
      () =>
        server.stderr.find((line) => line.includes(`1 x ${cores + 1} threads compute on ${cores} cores`)) ??
        null,
    );
    expect(server.ending).toBeNull();
  });

  it('are not said where there are enough cores', async () => {
    const { stderr } = await run(['generate', model, 'Once', '--max-tokens', '1', '--threads', '1']);
    expect(stderr).toEqual([expect.stringMatching(/^\[1 tokens/)]);
  });
});
