import { type Clock, systemClock } from '@butterfly/common';
import { ManualClock } from '@butterfly/common/testing';
import { encodeControl } from '@butterfly/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { SecureFleet } from '../testing/secure-fleet.js';

const workerLifeMs = 3_600_000;
const open: SecureFleet[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each[Symbol.asyncDispose]()));
});

/** Time as it is, but for what is due only when certificates end: that comes when a test says so. */
function clockWithHours(hours: ManualClock): Clock {
  return {
    nowMs: () => systemClock.nowMs(),
    after: (delayMs, callback) => (delayMs > workerLifeMs / 2 ? hours : systemClock).after(delayMs, callback),
  };
}

/** A fleet whose workers join with certificates of an hour. */
async function start() {
  const hours = new ManualClock();
  const cluster = await SecureFleet.open(clockWithHours(hours), { workerLifeMs });
  open.push(cluster);
  return { cluster, hours };
}

describe('the certificate of a worker that is here', () => {
  it('ends its stay when it ends', async () => {
    const { cluster, hours } = await start();
    const { party } = await cluster.join('anna');
    hours.jump(workerLifeMs);
    expect((await party.closed).error).toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('has expired') as string,
    });
  });

  it('is renewed under the same identity, and its stay goes on', async () => {
    const { cluster, hours } = await start();
    const { membership, connection, party } = await cluster.join('anna');
    const before = cluster.memberOf('w1');
    expect(before).not.toBe('');
    for (let time = 1; time <= 3; time++) {
      hours.jump(workerLifeMs * 0.9);
      connection.send(encodeControl(membership.renewal()));
      await membership.renewed(await party.next('renewed'));
    }
    expect(cluster.memberOf('w1')).toBe(before);
    expect(connection.isOpen).toBe(true);
    hours.jump(workerLifeMs);
    expect((await party.closed).error).toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('has expired') as string,
    });
  });

  it('is revoked for it alone: the others hear of it, also those that come later', async () => {
    const { cluster } = await start();
    const [anna, bert] = [await cluster.join('anna'), await cluster.join('bert')];
    const revoked = cluster.memberOf('w1');
    await cluster.fleet.revoke('w1');
    expect((await anna.party.closed).error).toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('was revoked') as string,
    });
    expect(await bert.party.next('revoked')).toMatchObject({ members: [revoked] });
    const carl = await cluster.join('carl');
    expect(await carl.party.next('revoked')).toMatchObject({ members: [revoked] });
    expect(bert.connection.isOpen).toBe(true);
    await expect(cluster.fleet.revoke('w1')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('cannot be renewed once it was revoked', async () => {
    const { cluster } = await start();
    const { membership, connection, party } = await cluster.join('anna');
    void cluster.fleet.revoke('w1');
    connection.send(encodeControl(membership.renewal()));
    expect((await party.closed).error).toMatchObject({ code: 'JOIN_REFUSED' });
  });
});
