import { randomBytes } from 'node:crypto';
import { ButterflyError, systemClock } from '@butterfly/common';
import { CertificateMembership, parseJoinToken } from '@butterfly/identity';
import { Channel, type Connection, type ControlMessage, decodeControl, encodeControl } from '@butterfly/wire';
import type { ChaosCluster } from '../cluster.js';

/** Members that join at once. */
const atOnce = 4;
const welcomeMs = 30_000;
/** Every so many of them measures itself and becomes a member before it leaves; the others leave when they know of the model. */
const measuredEvery = 2;
/** Every so many of them comes back once, with the certificate that it got. */
const returnsEvery = 4;

/** Offers no memory, so that no plan has it take part. */
const identity = {
  machineId: 'passer-by',
  butterflyVersion: '0.1.0',
  ggmlVersion: 'none',
  cpuVariant: 'none',
  cpuFeatures: [],
  platform: process.platform,
  arch: process.arch,
  threads: 1,
  memoryBytes: 1,
  dataPort: 1,
};

const profile: ControlMessage = {
  kind: 'profile',
  layerCurve: [{ rows: 1, micros: 1_000 }],
  outputCurve: [{ rows: 1, micros: 1_000 }],
  attentionMicros: { f16: 100, bf16: 100, q8_0: 100 },
  hasFiles: false,
  cachedBytes: 0,
  diskBytesPerSecond: 1e9,
  heldShards: [],
};

/**
 * Workers that prove themselves with a token, get a certificate, say hello, measure themselves, some of them, and leave:
 * by a goodbye, or without a word.
 * @throws Error when one is not welcomed
 */
export async function joinMany(cluster: ChaosCluster, from: number, count: number): Promise<void> {
  let next = from;
  const joiner = async (): Promise<void> => {
    while (next < from + count) {
      const index = next++;
      const member = await CertificateMembership.open({
        name: `passer-by ${index}`,
        joinToken: parseJoinToken(cluster.door.token),
        files: null,
        clock: systemClock,
        onUnkept: () => undefined,
      });
      const isBack = index % returnsEvery === returnsEvery - 1;
      if (isBack) next++;
      for (const each of isBack ? [index, index + 1] : [index]) await visit(member, cluster.door.port, each);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, joiner));
}

async function visit(member: CertificateMembership, port: number, index: number): Promise<void> {
  const door = { host: '127.0.0.1', port };
  await member.enrol(door);
  let settle: (error: Error | null) => void = () => undefined;
  const welcomed = new Promise<void>((resolve, reject) => {
    settle = (error) => (error ? reject(error) : resolve());
  });
  welcomed.catch(() => undefined);
  let channel = 0;
  const connection: Connection = await member.transport.dial({
    ...door,
    peer: { role: 'orchestrator' },
    clock: systemClock,
    handlers: {
      onFrame: (frame) => {
        if (frame.type !== 'control') return;
        const message = decodeControl(frame);
        if (message.kind !== 'openModel') return;
        channel = message.channel;
        settle(null);
      },
      onClose: (error, reason) => settle(error ?? new Error(reason)),
    },
  });
  const name = `passer-by-${randomBytes(6).toString('hex')}`;
  connection.send(encodeControl({ kind: 'hello', token: null, worker: { ...identity, name } }));
  const timer = setTimeout(() => settle(new Error('No welcome came in time.')), welcomeMs);
  await welcomed.finally(() => clearTimeout(timer));
  if (index % measuredEvery === 0) new Channel(connection, channel).send(encodeControl(profile));
  if (index % 3 === 0) connection.destroy(new ButterflyError('CANCELLED', 'It left without a word.'));
  else await connection.close('seen enough');
}
