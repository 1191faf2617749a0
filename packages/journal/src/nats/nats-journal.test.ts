import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeJournal } from '../testing/describe-journal.js';
import { hasNats, NatsServers } from '../testing/nats-servers.js';
import { bytesOf, sampleRecord } from '../testing/samples.js';
import { openNatsJournal } from './open.js';

const bounds = { bytesMax: 16 * 1024 * 1024, requestsMax: 64 };
const why = hasNats ? '' : ' (skipped: there is no nats-server here)';
let pools = 0;

describe.skipIf(!hasNats)(`with one server of NATS${why}`, () => {
  let servers: NatsServers;
  beforeAll(async () => {
    servers = await NatsServers.start(1);
  });
  afterAll(() => servers.stop());

  const open = (pool: string, more = bounds) =>
    openNatsJournal({ servers: servers.addresses, pool, replicas: 1, ...more });

  describeJournal('a journal in JetStream', () => {
    const pool = `contract-${pools++}`;
    const remove = async () => {
      // What it may take is reserved on the disk.
      await servers.manage((manager) => manager.streams.delete(`butterfly-journal-${pool}`));
    };
    return Promise.resolve({ open: (more) => open(pool, more), remove });
  });

  it('lets one process go on with a request, and not another', async () => {
    const first = await open('fenced');
    await first.begin(sampleRecord('a'));
    await first.append('a', bytesOf(1));
    const second = await open('fenced');
    await second.append('a', bytesOf(2));
    await expect(first.append('a', bytesOf(3))).rejects.toMatchObject({
      code: 'JOURNAL_FAILED',
      message: expect.stringMatching(/Another process goes on with a request/u) as string,
    });
    await expect(first.append('a', bytesOf(4))).rejects.toMatchObject({ code: 'JOURNAL_FAILED' });
    await expect(first.begin(sampleRecord('a'))).rejects.toMatchObject({ code: 'JOURNAL_FAILED' });
    expect(await second.entries('a')).toEqual(bytesOf(1, 2));
    await first.close();
    await second.close();
  });

  it('refuses servers that are not there, and options that are none', async () => {
    const options = { servers: ['127.0.0.1:1'], pool: 'p', replicas: 1, ...bounds };
    await expect(openNatsJournal(options)).rejects.toMatchObject({
      code: 'JOURNAL_FAILED',
      message: expect.stringMatching(/No NATS server of the journal answers at 127.0.0.1:1/u) as string,
    });
    for (const wrong of [{ pool: 'a.b' }, { replicas: 2 }, { bytesMax: 0 }, { requestsMax: 1.5 }])
      await expect(openNatsJournal({ ...options, ...wrong })).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
      });
  });

  it('says so when no server answers any more', async () => {
    const mortal = await NatsServers.start(1);
    const options = { servers: mortal.addresses, pool: 'p', replicas: 1, waitMs: 500, ...bounds };
    const journal = await openNatsJournal({ ...options });
    await journal.begin(sampleRecord('a'));
    await mortal.stop();
    const failure = {
      code: 'JOURNAL_FAILED',
      message: expect.stringMatching(/could not be written; see to its servers/u) as string,
    };
    await expect(journal.append('a', bytesOf(1))).rejects.toMatchObject(failure);
    await expect(journal.append('a', bytesOf(2))).rejects.toMatchObject({ code: 'JOURNAL_FAILED' });
    await expect(journal.begin(sampleRecord('b'))).rejects.toMatchObject(failure);
    await expect(journal.forget('a')).rejects.toMatchObject(failure);
    await expect(journal.requests()).rejects.toMatchObject({ code: 'JOURNAL_FAILED' });
    await journal.close();
  });
});

describe.skipIf(!hasNats)(`with three servers of NATS${why}`, () => {
  let servers: NatsServers;
  beforeAll(async () => {
    servers = await NatsServers.start(3);
  });
  afterAll(() => servers.stop());

  it('has all that it said it had when the leader dies in the midst', async () => {
    const options = { servers: servers.addresses, pool: 'three', replicas: 3, waitMs: 60_000, ...bounds };
    const journal = await openNatsJournal(options);
    const ids = ['a', 'b', 'c', 'd'];
    await Promise.all(ids.map((id) => journal.begin(sampleRecord(id))));
    const leader = await servers.manage(async ({ streams }) => {
      return (await streams.info('butterfly-journal-three')).cluster?.leader ?? '';
    });
    const kept = new Map(ids.map((id) => [id, 0]));
    const numbers = 300;
    const appended = ids.map(async (id) => {
      for (let number = 0; number < numbers; number++) {
        await journal.append(id, bytesOf(number % 256));
        kept.set(id, number + 1);
      }
    });
    while (Math.min(...kept.values()) < numbers / 3) await wait(1);
    await servers.kill(leader);
    await Promise.all(appended);
    const expected = bytesOf(...Array.from({ length: numbers }, (_, number) => number % 256));
    await journal.close();
    const next = await openNatsJournal(options);
    for (const id of ids) expect(await next.entries(id)).toEqual(expected);
    await next.close();
  });
});
