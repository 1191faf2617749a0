import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { encodeControl } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Butterfly, run } from './testing/butterfly.js';
import { Folder } from './testing/models.js';
import { Server, startWorker, streamFrom } from './testing/server.js';
import { makeToken, tokenOfAnotherCluster } from './testing/tokens.js';

/** Of the server's user, and of the workers'. */
let ours: Folder;
let theirs: Folder;
let server: Server;
beforeAll(async () => {
  [ours, theirs] = [new Folder(), new Folder()];
  server = await new Server(['--workers', '2', '--data-dir', ours.path]).ready();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const each of [ours, theirs]) each[Symbol.dispose]();
});

/** A worker with this token, or none, and what its user has kept. */
function worker(name: string, token: string | null, more: readonly string[] = []): Butterfly {
  const args = ['--name', name, '--data-dir', theirs.path, ...more];
  return startWorker(server, args, { token: token ?? '' });
}

async function joined(process: Butterfly): Promise<Butterfly> {
  await process.line(/^Joined /);
  return process;
}

async function refusal(process: Butterfly): Promise<string> {
  expect(await process.ended()).toEqual({ code: 4, signal: null });
  return process.stderr.at(-1) ?? '';
}

describe('a worker', () => {
  it('joins with a token once, and comes back with its certificate', async () => {
    const token = await makeToken({ usesMax: 1 }, ours.path);
    for (const each of [token, null]) {
      await using desk = await joined(worker('desk', each));
      desk.kill('SIGTERM');
      expect(await desk.ended()).toEqual({ code: 0, signal: null });
    }
    await using another = worker('another', token);
    expect(await refusal(another)).toMatch(/^butterfly: JOIN_REFUSED: .*used as often as it may be/);
  });

  it.each([
    ['no token', () => Promise.resolve(null), /JOIN_REFUSED: .*has no certificate/],
    ['an expired token', () => makeToken({ lifeMs: -1 }, ours.path), /JOIN_REFUSED: .*has expired/],
    ['a token of another cluster', tokenOfAnotherCluster, /PEER_UNTRUSTED: .*another one/],
  ])('with %s is refused', async (_, token, words) => {
    await using stranger = worker('stranger', await token());
    expect(await refusal(stranger)).toMatch(words);
  });

  it('with a word that is no token is told what one looks like', async () => {
    const args = ['worker', '--join', `127.0.0.1:${server.clusterPort}`, '--token', 'guess'];
    const { code, stderr } = await run([...args, '--data-dir', theirs.path]);
    expect([code, stderr]).toEqual([2, [expect.stringMatching(/CONFIG_INVALID: .*from "bf1-" on/)]]);
  });

  it('with a revoked token is refused', async () => {
    const token = await makeToken({}, ours.path);
    const list = ['token', 'list', '--json', '--data-dir', ours.path];
    const kept = JSON.parse((await run(list)).stdout.join('\n')) as { id: string }[];
    const { id } = kept.at(-1) ?? { id: '' };
    const revoked = await run(['token', 'revoke', id, '--data-dir', ours.path]);
    expect([revoked.code, revoked.stdout]).toEqual([0, [`Nobody joins with ${id} any more.`]]);
    await using stranger = worker('stranger', token);
    expect(await refusal(stranger)).toMatch(/JOIN_REFUSED: .*unknown or was revoked/);
    expect((await run(['token', 'revoke', id, '--data-dir', ours.path])).code).toBe(2);
  });

  it('that is revoked is cut off in the midst of a stream, which goes on, and needs a new token', async () => {
    await using two = new Server(['--workers', '1', '--wait-for', '1', '--data-dir', ours.path]);
    await two.line(/--join HOST/);
    const start = (token: string): Butterfly =>
      startWorker(two, ['--name', 'liar', '--data-dir', theirs.path], { token });
    const liar = start(two.token);
    await two.ready();
    const whole = await streamFrom(two, 'Once upon a time', 60);
    let cut: Promise<unknown> = Promise.resolve();
    const stream = await streamFrom(two, 'Once upon a time', 60, (pieces) => {
      if (pieces === 5) cut = run(['revoke', 'liar', '--url', two.url]);
    });
    expect(await cut).toMatchObject({
      code: 0,
      stdout: [expect.stringMatching(/^liar \(w\d+\) is cut off/)],
    });
    expect(stream).toEqual(whole);
    expect(await refusal(liar)).toMatch(/JOIN_REFUSED: The certificate of this worker was revoked/);
    await using again = start('');
    expect(await refusal(again)).toMatch(/JOIN_REFUSED: .*was revoked/);
  });
});

describe('secrets', () => {
  it('are in no list of processes, no log, no description, and no file that others can read', async () => {
    const token = await makeToken({}, ours.path);
    const secret = Buffer.from(token.slice(4), 'base64url').subarray(38).toString('base64url').slice(1, -1);
    await using desk = await joined(worker('secretive', null, ['--token', token]));
    const processes = [server.pid, desk.pid, ...server.workerPids];
    const lists = processes.map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
    const environments = server.workerPids.map((pid) => readFileSync(`/proc/${pid}/environ`, 'utf8'));
    const described = await (await fetch(`${server.url}/cluster`)).text();
    const said = [server, desk].flatMap(({ stdout, stderr }) => [
      ...stdout.filter((line) => !line.startsWith('Join with')),
      ...stderr,
    ]);
    for (const text of [...lists, ...environments, described, ...said]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(server.token);
      expect(text).not.toContain('PRIVATE KEY');
    }
    expect(lists[1]).toMatch(/^butterfly worker/);
    expect(readdirSync(ours.path)).toEqual(['cluster']);
  });
});

describe('the cluster port', () => {
  it('takes no word of the protocol from who has no certificate, but one', async () => {
    const socket = connect({ host: '127.0.0.1', port: server.clusterPort, rejectUnauthorized: false });
    const answer = new Promise<string>((resolve) => {
      let heard = '';
      socket.on('data', (bytes: Buffer) => (heard += bytes.toString('latin1')));
      socket.on('close', () => resolve(heard));
    });
    socket.on('error', () => undefined);
    socket.write(Buffer.concat(encodeControl({ kind: 'peer', peerToken: 'guess' })));
    expect(await answer).toMatch(/PROTOCOL_INVALID.*instead of/);
    expect((await server.status()).ready).toBe(true);
  });
});

describe('--insecure', () => {
  it('is refused where others could listen, and said loudly where not', async () => {
    const refused = await run(['serve', '--workers', '0', '--insecure', '--cluster-host', '0.0.0.0']);
    expect([refused.code, refused.stderr.at(-1)]).toEqual([
      2,
      expect.stringMatching(/CONFIG_INVALID: --insecure .*refuses 0\.0\.0\.0.*--insecure anywhere/),
    ]);
    const far = await run(['worker', '--insecure', '--join', '192.0.2.1:7600']);
    expect([far.code, far.stderr.at(-1)]).toEqual([2, expect.stringMatching(/refuses 192\.0\.2\.1/)]);
    await using bench = await new Server(['--workers', '1', '--insecure']).ready();
    expect(bench.stderr.join('\n')).toContain('The cluster is INSECURE');
    await using secure = startWorker(bench, ['--data-dir', theirs.path], { token: server.token });
    expect(await refusal(secure)).toMatch(/PEER_UNTRUSTED: .*--insecure/);
  });

  it('goes with a token that people choose, and certificates with none such', async () => {
    const { code, stderr } = await run(['serve', '--workers', '0', '--token', 'ours'], {
      XDG_DATA_HOME: ours.path,
    });
    expect([code, stderr.at(-1)]).toEqual([2, expect.stringMatching(/CONFIG_INVALID: .*join token/)]);
    const foreign = await tokenOfAnotherCluster();
    const other = await run(['serve', '--workers', '0', '--token', foreign], { XDG_DATA_HOME: ours.path });
    expect([other.code, other.stderr.at(-1)]).toEqual([2, expect.stringMatching(/none that the authority/)]);
  });
});
