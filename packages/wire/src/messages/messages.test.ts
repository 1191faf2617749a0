import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ButterflyError, limits } from '@butterfly/common';
import { FrameDecoder } from '../frames/frame.js';
import type { Frame } from '../frames/frame.js';
import { decodeControl, encodeControl } from './messages.js';
import type { ControlMessage, WorkerIdentity } from './messages.js';

const worker: WorkerIdentity = {
  name: 'attic',
  machineId: 'm-1',
  butterflyVersion: '0.1.0',
  ggmlVersion: '0.9.4',
  cpuVariant: 'sapphirerapids',
  cpuFeatures: ['AVX512', 'AMX_INT8'],
  platform: 'linux',
  arch: 'x64',
  threads: 2,
  memoryBytes: 8_000_000_000,
  dataPort: 7601,
};
const hello = { kind: 'hello', token: null, worker } satisfies ControlMessage;

const welcome = {
  kind: 'welcome',
  workerId: 'w1',
  heartbeatEveryMs: 250,
  heartbeatSilenceMs: 10_000,
  peerToken: 'peers',
  channels: [1, 7],
} satisfies ControlMessage;

const openModel = {
  kind: 'openModel',
  channel: 7,
  name: 'llama-1b',
  model: { architecture: 'llama', tensors: [{ name: 'blk.0.attn_q.weight', bytes: 12 }] },
  isDeterministic: false,
} satisfies ControlMessage;

const curve = [
  { rows: 1, micros: 31_000.5 },
  { rows: 8, micros: 61_000 },
];
const profile = {
  kind: 'profile',
  layerCurve: curve,
  outputCurve: curve,
  attentionMicros: { f16: 120.5, bf16: 90, q8_0: 60 },
  hasFiles: true,
  cachedBytes: 0,
  diskBytesPerSecond: 1.5e9,
  heldShards: ['0123456789abcdef'],
} satisfies ControlMessage;

const source = { workerId: 'w2', host: '10.0.0.2', port: 7601 };
const prepare = {
  kind: 'prepare',
  shardId: '0123456789abcdef',
  layerStart: 0,
  layerEnd: 8,
  arenaSlots: 4096,
  cacheType: 'q8_0',
  rowsMax: 512,
  sources: [source],
} satisfies ControlMessage;

const prepared = {
  kind: 'prepared',
  shardId: 'a'.repeat(64),
  shardBytes: 1,
  arenaBytes: 2,
  residentBytes: 3,
  isBatchInvariant: true,
  stepCurve: curve,
  loaded: { fileBytes: 1, cacheBytes: 2, peerBytes: 3, orchestratorBytes: 4, elapsedMs: 5.5 },
} satisfies ControlMessage;

const assign = {
  kind: 'assign',
  epoch: 3,
  shardId: '0123456789abcdef',
  stageIndex: 0,
  stageCount: 2,
  next: { kind: 'direct', ...source },
  isRelayed: false,
  linkToken: 'secret',
} satisfies ControlMessage;

const everyMessage: readonly ControlMessage[] = [
  hello,
  { ...hello, token: 'join-token' },
  welcome,
  openModel,
  { kind: 'closeModel', channel: limits.channelsMax },
  profile,
  { kind: 'probe', requestId: 1, host: '10.0.0.2', port: 7601 },
  { kind: 'probed', requestId: 1, latencyMicros: 120.5, bytesPerSecond: 1.1e8 },
  { kind: 'probed', requestId: 2, latencyMicros: null, bytesPerSecond: null },
  { kind: 'peer', peerToken: 'peers' },
  { kind: 'peerWelcome' },
  { kind: 'probeBlock', requestId: 1, bytes: limits.fileChunkBytesMax },
  { kind: 'enrol', token: 'bf1-token', publicKey: 'PEM' },
  { kind: 'enrolled', certificate: 'PEM', authority: 'PEM' },
  { kind: 'renew', publicKey: 'PEM' },
  { kind: 'renewed', certificate: 'PEM', authority: 'PEM' },
  { kind: 'revoked', members: ['worker-1'] },
  prepare,
  { ...prepare, sources: [{ ...source, member: 'worker-1' }] },
  { ...prepare, sources: [] },
  { kind: 'release', shardId: prepare.shardId },
  { kind: 'progress', shardId: prepare.shardId, loadedBytes: 10, totalBytes: 20 },
  prepared,
  { kind: 'unprepared', shardId: prepare.shardId, code: 'MODEL_TRUNCATED', message: 'The file ends early.' },
  { kind: 'fetch', requestId: 1, fileIndex: 0, offset: 2 ** 40, bytes: limits.fileChunkBytesMax },
  { kind: 'fetchMissing', requestId: 1 },
  { kind: 'fetchMissing', requestId: 1, error: { code: 'MODEL_CHANGED', message: 'It was replaced.' } },
  { kind: 'digests', requestId: 1, fileIndex: 0, offset: 2 ** 40, bytes: 64 * limits.fileChunkBytesMax },
  { kind: 'digested', requestId: 1, sha256: ['0'.repeat(64), 'f'.repeat(64)] },
  assign,
  { ...assign, next: { kind: 'relay', workerId: 'w2' }, isRelayed: true },
  { ...assign, stageIndex: 1, next: null },
  { ...assign, stageIndex: 1 },
  { ...assign, stageCount: 1, next: null },
  { kind: 'unassign', epoch: 3 },
  { kind: 'ready', epoch: 3 },
  { kind: 'failed', epoch: 3, code: 'WORKER_LOST', message: 'The link broke.', lostWorkerId: 'w2' },
  { kind: 'failed', epoch: 3, code: 'INTERNAL', message: 'A defect.', lostWorkerId: null },
  { kind: 'witness', epoch: 3, received: [7], sent: [] },
  { kind: 'link', peerToken: 'peers', linkToken: 'secret', epoch: 3, fromStage: 0 },
  { kind: 'linked', epoch: 3 },
  { kind: 'constraint', constraintId: 7, grammar: 'root ::= "a"\n' },
  { kind: 'dropConstraint', constraintId: 7 },
  { kind: 'constraintReady', constraintId: 7 },
  { kind: 'constraintRefused', constraintId: 7, code: 'COMPUTE_FAILED', message: 'It is none.' },
  { kind: 'ping', sentAtMs: 12.5 },
  { kind: 'pong', sentAtMs: 12.5 },
  { kind: 'error', code: 'JOIN_REFUSED', message: 'Wrong token.' },
  { kind: 'bye', reason: 'drained' },
];

/** Fails to compile when a kind is added, and then asks for an example of it above. */
const everyKind: Record<ControlMessage['kind'], true> = {
  enrol: true,
  enrolled: true,
  renew: true,
  renewed: true,
  revoked: true,
  hello: true,
  welcome: true,
  openModel: true,
  closeModel: true,
  profile: true,
  probe: true,
  probed: true,
  peer: true,
  peerWelcome: true,
  probeBlock: true,
  ping: true,
  pong: true,
  error: true,
  bye: true,
  prepare: true,
  release: true,
  progress: true,
  prepared: true,
  unprepared: true,
  fetch: true,
  fetchMissing: true,
  digests: true,
  digested: true,
  assign: true,
  unassign: true,
  ready: true,
  failed: true,
  witness: true,
  link: true,
  linked: true,
  constraint: true,
  dropConstraint: true,
  constraintReady: true,
  constraintRefused: true,
};

function transfer(message: ControlMessage): Frame {
  const decoder = new FrameDecoder();
  decoder.push(Buffer.concat(encodeControl(message)));
  const [frame] = decoder.frames();
  if (frame === undefined) throw new Error('no frame came out');
  return frame;
}

const received = (header: Uint8Array): ControlMessage =>
  decodeControl({ type: 'control', header, payload: new Uint8Array(0) });
const receivedJson = (value: unknown): ControlMessage => received(Buffer.from(JSON.stringify(value)));

describe('control messages', () => {
  it('have an example of every kind here', () => {
    expect(new Set(everyMessage.map(({ kind }) => kind))).toEqual(new Set(Object.keys(everyKind)));
  });

  it.each(everyMessage.map((message) => [message.kind, message] as const))('transfer %s', (_, message) => {
    expect(decodeControl(transfer(message))).toEqual(message);
  });

  it('drops unknown fields at every depth but keeps the model as it is', () => {
    const message = receivedJson({ ...assign, future: 1, next: { ...assign.next, future: 2 } });
    expect(message).toEqual(assign);
    const model = { any: { depth: [{ of: 'it' }] } };
    expect(receivedJson({ ...openModel, model, future: 1 })).toEqual({ ...openModel, model });
  });

  it('cuts wordy texts instead of losing the report', () => {
    const message = decodeControl(transfer({ kind: 'error', code: 'INTERNAL', message: 'x'.repeat(10_000) }));
    expect(message).toEqual({ kind: 'error', code: 'INTERNAL', message: 'x'.repeat(4096) });
  });

  it('decodes a frame once', () => {
    const frame = transfer(assign);
    expect(decodeControl(frame)).toBe(decodeControl(frame));
  });

  it.each<[string, unknown, RegExp]>([
    ['an unknown kind', { kind: 'dance' }, /"dance" is invalid: kind/],
    ['no kind', {}, /kind/],
    ['no object', 7, /invalid/],
    ['a missing field', { kind: 'progress', shardId: prepare.shardId, loadedBytes: 1 }, /totalBytes/],
    [
      'a negative size',
      { kind: 'progress', shardId: prepare.shardId, loadedBytes: -1, totalBytes: 1 },
      /loadedBytes/,
    ],
    ['an epoch beyond 32 bits', { kind: 'ready', epoch: 2 ** 32 }, /epoch/],
  ])('refuses %s', refuses);

  const withWorker = (change: object): unknown => ({ ...hello, worker: { ...worker, ...change } });
  it.each<[string, unknown, RegExp]>([
    ['a fraction of a thread', withWorker({ threads: 0.5 }), /worker\.threads/],
    ['no threads', withWorker({ threads: 0 }), /worker\.threads/],
    ['no name', withWorker({ name: '' }), /worker\.name/],
    ['a long name', withWorker({ name: 'x'.repeat(257) }), /worker\.name/],
    ['a long list', withWorker({ cpuFeatures: Array(257).fill('a') }), /cpuFeatures/],
    ['a port out of range', withWorker({ dataPort: 65_536 }), /dataPort/],
    ['channel 0 for a model', { ...openModel, channel: 0 }, /channel/],
    ['a shard that is no hash', { ...profile, heldShards: ['layers 0 to 8'] }, /heldShards\.0/],
    [
      'more shards than may be held',
      { ...profile, heldShards: Array(limits.shardsHeldMax + 1).fill(prepare.shardId) },
      /heldShards/,
    ],
    ['silence as short as the beat', { ...welcome, heartbeatSilenceMs: 250 }, /heartbeatSilenceMs/],
    ['a channel without a model', { ...openModel, model: undefined }, /model/],
    ['an empty secret', { ...welcome, peerToken: '' }, /peerToken/],
    ['a link of no cluster', { kind: 'link', linkToken: 'secret', epoch: 3, fromStage: 0 }, /peerToken/],
  ])('refuses, of joining, %s', refuses);

  it.each<[string, unknown, RegExp]>([
    ['no curve', { ...profile, layerCurve: undefined }, /layerCurve/],
    ['an empty curve', { ...profile, outputCurve: [] }, /outputCurve/],
    ['a long curve', { ...profile, layerCurve: Array(65).fill(curve[0]) }, /layerCurve/],
    ['a kind of no layer', { ...profile, kindCurves: [{ layer: -1, curve }] }, /kindCurves\.0\.layer/],
    ['a kind without a curve', { ...profile, kindCurves: [{ layer: 0 }] }, /kindCurves\.0\.curve/],
    [
      'more kinds of layers than there may be',
      { ...profile, kindCurves: Array(limits.layerKindsMax + 1).fill({ layer: 0, curve }) },
      /kindCurves/,
    ],
    ['a step of no rows', { ...prepared, stepCurve: [{ rows: 0, micros: 1 }] }, /stepCurve\.0\.rows/],
    [
      'a step over the limit',
      { ...prepared, stepCurve: [{ rows: limits.stepRowsMax + 1, micros: 1 }] },
      /stepCurve\.0\.rows/,
    ],
    ['a step in no time', { ...prepared, stepCurve: [{ rows: 1, micros: 0 }] }, /stepCurve\.0\.micros/],
    [
      'attention over an unknown type of cache',
      { ...profile, attentionMicros: { ...profile.attentionMicros, q4_0: 1 } },
      /attentionMicros/,
    ],
    [
      'attention over fewer types than there are',
      { ...profile, attentionMicros: { f16: 1 } },
      /attentionMicros/,
    ],
    [
      'attention in no time',
      { ...profile, attentionMicros: { ...profile.attentionMicros, f16: 0 } },
      /attentionMicros\.f16/,
    ],
    ['a disk that stands still', { ...profile, diskBytesPerSecond: 0 }, /diskBytesPerSecond/],
    [
      'a link that stands still',
      { kind: 'probed', requestId: 1, latencyMicros: 0, bytesPerSecond: 0 },
      /bytesPerSecond/,
    ],
    ['a probe of no bytes', { kind: 'probeBlock', requestId: 1, bytes: 0 }, /bytes/],
  ])('refuses, of measurements, %s', refuses);

  it.each<[string, unknown, RegExp]>([
    ['an unknown type of cache', { ...prepare, cacheType: 'f32' }, /cacheType/],
    ['layers backwards', { ...prepare, layerEnd: 0 }, /layerEnd/],
    ['an arena without slots', { ...prepare, arenaSlots: 0 }, /arenaSlots/],
    ['a short hash', { ...prepare, shardId: '0123' }, /shardId/],
    ['a source without a port', { ...prepare, sources: [{ ...source, port: 0 }] }, /sources\.0\.port/],
    ['many sources', { ...prepare, sources: Array(limits.weightSourcesMax + 1).fill(source) }, /sources/],
    ['a negative time', { ...prepared, loaded: { ...prepared.loaded, elapsedMs: -1 } }, /loaded\.elapsedMs/],
    [
      'a fetch over the limit',
      { kind: 'fetch', requestId: 1, fileIndex: 0, offset: 0, bytes: limits.fileChunkBytesMax + 1 },
      /bytes/,
    ],
    [
      'a file beyond the last',
      { kind: 'fetch', requestId: 1, fileIndex: limits.modelFilesMax, offset: 0, bytes: 1 },
      /fileIndex/,
    ],
  ])('refuses, of shards, %s', refuses);

  it.each<[string, unknown, RegExp]>([
    ['a stage beyond the last', { ...assign, stageIndex: 2 }, /stageIndex/],
    ['a middle stage without a next', { ...assign, next: null }, /next/],
    [
      'a last stage that relays',
      { ...assign, stageIndex: 1, next: { kind: 'relay', workerId: 'w2' } },
      /next/,
    ],
    ['a single stage with a next', { ...assign, stageCount: 1 }, /next/],
    ['a way of an unknown kind', { ...assign, next: { ...source, kind: 'pigeon' } }, /next\.kind/],
    ['a straight way without a port', { ...assign, next: { ...assign.next, port: undefined } }, /next\.port/],
    ['a relay to nobody', { ...assign, next: { kind: 'relay' } }, /next\.workerId/],
    [
      'a failure of no known kind',
      { kind: 'failed', epoch: 1, code: '', message: '', lostWorkerId: null },
      /code/,
    ],
  ])('refuses, of epochs, %s', refuses);

  function refuses(_: string, value: unknown, message: RegExp): void {
    expect(() => receivedJson(value)).toThrow(message);
    expect(() => receivedJson(value)).toThrow(ButterflyError);
  }

  it('refuses to send what the peer would refuse', () => {
    expect(() => encodeControl({ ...prepare, rowsMax: 0 })).toThrow(/rowsMax/);
  });

  it('refuses frames of another type', () => {
    expect(() =>
      decodeControl({ type: 'step', header: Buffer.from('{}'), payload: Buffer.alloc(0) }),
    ).toThrow(/step frame/);
  });

  it('throws nothing but PROTOCOL_INVALID for noise, cut and nested JSON', () => {
    const texts = everyMessage.map((message) => Buffer.from(JSON.stringify(message)));
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.json().map((text) => Buffer.from(text)),
      fc.tuple(fc.constantFrom(...texts), fc.nat()).map(([text, cut]) => text.subarray(0, cut % text.length)),
      fc.tuple(fc.constantFrom(...texts), fc.nat(), fc.nat({ max: 255 })).map(([text, at, value]) => {
        const changed = Buffer.from(text);
        changed[at % changed.length] = value;
        return changed;
      }),
      fc.constant(Buffer.from('['.repeat(100_000))),
      fc.constant(Buffer.from(`{"kind":"welcome","model":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_001)}`)),
    );
    fc.assert(
      fc.property(noise, (bytes) => {
        let code: string | null = null;
        try {
          received(bytes);
        } catch (thrown) {
          code = thrown instanceof ButterflyError ? thrown.code : String(thrown);
        }
        expect([null, 'PROTOCOL_INVALID']).toContain(code);
      }),
      { numRuns: 1000 },
    );
  });
});
