import { describe, expect, it } from 'vitest';
import { Butterfly, run } from './testing/butterfly.js';
import { Server, isAlive, streamFrom } from './testing/server.js';
import { makeToken } from './testing/tokens.js';

const prompt = 'Once upon a time';

/** A worker for several devices, of which `vulkan9` is on no machine. */
function startCrew(server: Server, args: readonly string[] = []): Butterfly {
  const join = ['--join', `127.0.0.1:${server.clusterPort}`];
  const crew = ['--device', 'vulkan9,cpu', '--name', 'desk', '--threads', '1'];
  return new Butterfly(['worker', ...join, ...crew, ...args], {
    env: { BUTTERFLY_TOKEN: server.token, BUTTERFLY_LOG: 'info' },
  });
}

const pidsOf = (crew: Butterfly): number[] =>
  crew
    .records('A local worker starts.')
    .filter(({ name }) => name === 'desk-cpu')
    .map(({ workerPid }) => Number(workerPid));

describe('a worker for several devices', () => {
  it('goes on without a device that is not there, and starts one again whose process died', async () => {
    await using server = new Server(['--workers', '0', '--wait-for', '1']);
    await server.line(/^API on/u);
    await using crew = startCrew(server);
    await server.ready();
    await crew.line(/^desk-cpu: Joined \S+ as w1, with 1 threads/u);
    const refusal = await crew.until(
      'the refusal',
      () => crew.stderr.find((line) => line.includes('is not started again: There is no device')) ?? null,
    );
    expect(JSON.parse(refusal)).toMatchObject({ name: 'desk-vulkan9', code: 'CONFIG_INVALID' });
    const cluster: unknown = await (await fetch(`${server.url}/cluster`)).json();
    expect(cluster).toMatchObject({ workers: [{ name: 'desk-cpu', layers: [0, 3] }] });

    const expected = await streamFrom(server, prompt, 60);
    let hits = 0;
    const streamed = await streamFrom(server, prompt, 60, (pieces) => {
      if (pieces >= 10 && hits === 0) hits += Number(process.kill(pidsOf(crew)[0] ?? 0, 'SIGKILL'));
    });
    expect(hits).toBe(1);
    expect(streamed).toEqual(expected);
    expect(crew.records('A local worker ended.')).toMatchObject([{ name: 'desk-cpu', signal: 'SIGKILL' }]);
    expect(pidsOf(crew)).toHaveLength(2);

    crew.kill('SIGTERM');
    expect(await crew.ended()).toEqual({ code: 0, signal: null });
    expect(pidsOf(crew).filter(isAlive)).toEqual([]);
  });

  it('takes its processes along when it is killed, and ends with them when they are sent away', async () => {
    await using server = new Server(['--workers', '0', '--wait-for', '1']);
    await server.line(/^API on/u);
    await using crew = startCrew(server);
    await crew.line(/^desk-cpu: Joined/u);
    crew.kill('SIGKILL');
    // All of them have closed the pipe that they share.
    expect(await crew.ended()).toEqual({ code: null, signal: 'SIGKILL' });
    await using another = startCrew(server);
    await another.line(/^desk-cpu: Joined/u);
    server.kill('SIGTERM');
    expect(await server.ended()).toEqual({ code: 0, signal: null });
    expect(await another.ended()).toEqual({ code: 0, signal: null });
    expect(another.records('A local worker was sent away.')).toMatchObject([{ name: 'desk-cpu' }]);
  });

  it.each([
    [
      'none of the devices is there',
      'vulkan8,vulkan9',
      2,
      /CONFIG_INVALID: There is no device vulkan[89] here/u,
    ],
    ['a device is named twice', 'cpu,cpu', 2, /CONFIG_INVALID: --device names cpu twice/u],
  ])('fails where %s', async (_, devices, expected, message) => {
    const { code, stderr } = await run(['worker', '--join', '127.0.0.1:1', '--device', devices]);
    expect(code).toBe(expected);
    expect(stderr.at(-1)).toMatch(message);
  });

  it('fails where nobody answers for as long as it was to wait', async () => {
    const crew = ['--device', 'cpu,vulkan9', '--wait', '0'];
    const { code, stderr } = await run(['worker', '--join', '127.0.0.1:1', ...crew], {
      BUTTERFLY_TOKEN: await makeToken(),
    });
    expect(code).not.toBe(0);
    expect(stderr.join('\n')).toMatch(/is not started again: .*127\.0\.0\.1:1/u);
  });
});
