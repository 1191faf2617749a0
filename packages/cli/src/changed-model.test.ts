import { triedOf } from '@butterfly/testkit';
import { open, readFile, rename, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Folder, model } from './testing/models.js';
import { Server, startWorker, streamFrom } from './testing/server.js';

const prompt = 'Once upon a time';
const answerOf = async (server: Server): Promise<string> => (await streamFrom(server, prompt, 40)).text;

/** In the midst of a tensor, where no sample is taken. */
const inWeights = 600_001;

/** A model of the same metadata and the same samples with one other byte. */
async function otherModel(): Promise<Buffer> {
  const bytes = await readFile(model);
  bytes.writeUInt8(bytes.readUInt8(inWeights) ^ 0x40, inWeights);
  return bytes;
}

async function overwriteByte(path: string): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write((await otherModel()).subarray(inWeights, inWeights + 1), 0, 1, inWeights);
}

/** Each test starts several processes one after the other. */
const timeoutMs = 120_000;

let right: string;
beforeAll(async () => {
  await using server = await new Server().ready();
  right = await answerOf(server);
});

describe('a model file that changes while it is served', { timeout: timeoutMs }, () => {
  it.each<[string, (path: string) => Promise<void>]>([
    [
      'is replaced',
      async (path) => {
        await writeFile(`${path}.part`, await otherModel());
        await rename(`${path}.part`, path);
      },
    ],
    ['is deleted', (path) => unlink(path)],
  ])('goes on as it was opened when it %s, in every cache too', async (_, change) => {
    using folder = new Folder();
    const path = folder.write('aidreams-260k.gguf', await readFile(model));
    const cache = ['--cache-dir', join(folder.path, 'cache')];
    {
      await using server = new Server(['--workers', '0', '--wait-for', '1'], { path });
      await server.line(/--join HOST/);
      await change(path);
      await server.until(
        'a warning',
        () =>
          server.stderr.find((line) => /aidreams-260k\.gguf is (another file now|gone)/u.test(line)) ?? null,
      );
      // By its own copy of the file, which is another one or none.
      await using worker = startWorker(server, cache);
      await server.ready();
      expect(await answerOf(server)).toBe(right);
      // Its cache is whole once it has said goodbye.
      worker.kill('SIGTERM');
      await worker.ended();
    }
    await writeFile(path, await readFile(model));
    await using server = new Server(['--workers', '0', '--wait-for', '1'], { path });
    await server.line(/--join HOST/);
    await using worker = startWorker(server, [...cache, '--remote-only']);
    await server.ready();
    expect(await answerOf(server)).toBe(right);
    expect(worker.ending).toBeNull();
  });

  const writes: [string, (path: string) => Promise<void>][] = [
    ['one byte of it is overwritten', overwriteByte],
    ['it is truncated', (path) => truncate(path, 700_000)],
    ['another one is written over it', async (path) => writeFile(path, await otherModel())],
  ];
  it.each(triedOf(writes))(
    'is refused to those that join once %s, and what is loaded goes on',
    async (_, change) => {
      using folder = new Folder();
      const path = folder.write('aidreams-260k.gguf', await readFile(model));
      await using server = await new Server(['--workers', '1'], { path }).ready();
      expect(await answerOf(server)).toBe(right);
      await change(path);
      await server.until(
        'an error',
        () =>
          server.records(
            `${path} was written to while it is served. Restore it, and start serve again; what is loaded goes on.`,
          )[0] ?? null,
      );
      const [loaded] = server.stages;
      if (!loaded) throw new RangeError('one worker has all layers');
      expect(await answerOf(server)).toBe(right);
      const status = await (
        await fetch(`${server.url}/cluster`, { headers: { authorization: `Bearer ${server.token}` } })
      ).json();
      expect(JSON.stringify(status)).toContain('was written to while it is served');
      // Its successor has to load anew.
      process.kill(loaded.pid, 'SIGKILL');
      await server.until(
        'the refusal',
        () => server.stderr.find((line) => /"workerId":"w\d+".*"code":"MODEL_/u.test(line)) ?? null,
      );
      let { ready, detail } = await server.status();
      while (!/start serve again/iu.test(detail)) ({ ready, detail } = await server.status());
      expect(ready).toBe(false);
    },
  );

  it('is not served from what a worker has loaded of the one before', async () => {
    using folder = new Folder();
    const path = folder.write('aidreams-260k.gguf', await readFile(model));
    await using first = new Server(['--workers', '0', '--wait-for', '1'], { path });
    await first.line(/--join HOST/);
    const clusterPort = String(first.clusterPort);
    await using worker = startWorker(first, ['--cache-dir', join(folder.path, 'cache')]);
    await first.ready();
    expect(await answerOf(first)).toBe(right);
    first.kill('SIGKILL');
    await worker.line(/^Lost/);
    const other = await otherModel();
    // Loud enough to be heard in the answer.
    for (let at = 500_000; at < 600_000; at += 4) other.writeFloatLE(-other.readFloatLE(at), at);
    await writeFile(`${path}.part`, other);
    await rename(`${path}.part`, path);
    await using second = new Server(['--workers', '0', '--wait-for', '1', '--cluster-port', clusterPort], {
      path,
    });
    await second.ready();
    const after = await answerOf(second);
    expect(after).not.toBe(right);
    await using alone = await new Server([], { path }).ready();
    expect(after).toBe(await answerOf(alone));
  });
});
