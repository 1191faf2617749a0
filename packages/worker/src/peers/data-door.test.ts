import { readFileSync } from 'node:fs';
import { limits } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import { describeFile } from '@butterfly/stage/testing';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { Channel, decodeFileChunk, dial, encodeControl, encodeFileChunk } from '@butterfly/wire';
import { beforeAll, describe, expect, it } from 'vitest';
import { modelChannel, Party, peerToken, ScriptedOrchestrator } from '../testing/scripted-orchestrator.js';

let spec: ModelSpec;

beforeAll(async () => {
  spec = await describeFile(await cachedSyntheticModel(tinyModel));
});

describe('a worker at its data port', () => {
  async function greet(port: number, token: string, host = '127.0.0.1') {
    const peer = new Party();
    const connection = await dial({ host, port, handlers: peer.handlers });
    connection.send(encodeControl({ kind: 'peer', peerToken: token }));
    return { peer, connection };
  }

  it('turns away whoever does not know the secret of the cluster', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, dataPort } = await orchestrator.startWorker(spec);
    const { peer } = await greet(dataPort, 'a guess');
    expect(await peer.closed).toMatchObject({ code: 'JOIN_REFUSED' });
    await worker.stop();
  });

  it('gives peers weights and blocks to measure with', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, dataPort } = await orchestrator.startWorker(spec);
    const { peer, connection } = await greet(dataPort, peerToken);
    await peer.next('peerWelcome');
    connection.send(encodeControl({ kind: 'probeBlock', requestId: 1, bytes: 1000 }));
    const block = decodeFileChunk(await peer.frame('fileChunk'));
    expect(block.requestId).toBe(1);
    expect(Buffer.from(block.bytes).equals(new Uint8Array(1000))).toBe(true);
    const fetch = { kind: 'fetch', requestId: 2, fileIndex: 0, offset: 64, bytes: 500 } as const;
    // Of a model that is not open there is nothing.
    new Channel(connection, modelChannel + 1).send(encodeControl(fetch));
    expect(await peer.next('fetchMissing')).toMatchObject({ requestId: 2 });
    new Channel(connection, modelChannel).send(encodeControl(fetch));
    const chunk = decodeFileChunk(await peer.frame('fileChunk'));
    expect(Buffer.from(chunk.bytes).equals(readFileSync(spec.files[0]?.path ?? '').subarray(64, 564))).toBe(
      true,
    );
    await worker.stop();
  });

  it('is reached over IPv6 and IPv4 when the orchestrator is elsewhere', async () => {
    await using orchestrator = await ScriptedOrchestrator.open('::1');
    // The loopback address, but not as those write it who are on the same machine.
    const join = { host: '0:0:0:0:0:0:0:1', port: orchestrator.port };
    const { worker, dataPort } = await orchestrator.startWorker(spec, { join });
    for (const host of ['::1', '127.0.0.1'])
      await (await greet(dataPort, peerToken, host)).peer.next('peerWelcome');
    await worker.stop();
  });

  it('lets in a bounded number of peers, and another one when one has gone', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, dataPort } = await orchestrator.startWorker(spec);
    const guests = [];
    for (let i = 0; i < limits.peerGuestsMax; i++) {
      const guest = await greet(dataPort, peerToken);
      await guest.peer.next('peerWelcome');
      guests.push(guest);
    }
    const { peer } = await greet(dataPort, peerToken);
    expect(await peer.closed).toMatchObject({ code: 'JOIN_REFUSED' });
    await guests[0]?.connection.close();
    await (await greet(dataPort, peerToken)).peer.next('peerWelcome');
    await worker.stop();
  });

  it('measures the link to another worker for the orchestrator', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const one = await orchestrator.startWorker(spec);
    const other = await orchestrator.startWorker(spec);
    one.member.send({ kind: 'probe', requestId: 3, host: '127.0.0.1', port: other.dataPort });
    const way = await one.member.next('probed');
    expect(way.requestId).toBe(3);
    expect(way.latencyMicros).toBeGreaterThan(0);
    expect(way.bytesPerSecond).toBeGreaterThan(0);
    await other.worker.stop();
    one.member.send({ kind: 'probe', requestId: 4, host: '127.0.0.1', port: other.dataPort });
    expect(await one.member.next('probed')).toMatchObject({ latencyMicros: null, bytesPerSecond: null });
    await one.worker.stop();
  });

  it('gives the orchestrator blocks to measure with, and drops those that nobody asked for', async () => {
    await using orchestrator = await ScriptedOrchestrator.open();
    const { worker, member } = await orchestrator.startWorker(spec);
    const unasked = { requestId: 0xffff_ffff, bytes: new Uint8Array(100_000), sha256: new Uint8Array(32) };
    member.connection.send(encodeFileChunk(unasked));
    member.send({ kind: 'probeBlock', requestId: 5, bytes: 2000 });
    const { requestId, bytes } = decodeFileChunk(await member.frame('fileChunk'));
    expect([requestId, bytes.length]).toEqual([5, 2000]);
    await worker.stop();
  });
});
