import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ButterflyError } from '../errors.js';
import { limits } from '../limits.js';
import { FrameDecoder } from './frame.js';
import type { Frame } from './frame.js';
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
  weightBytesPerSecond: 1.5e10,
  attentionMicros: { f16: 120.5, bf16: 90, q8_0: 60 },
};

const assign = {
  kind: 'assign',
  epoch: 3,
  stageIndex: 0,
  stageCount: 2,
  layerStart: 0,
  layerEnd: 8,
  model: { architecture: 'llama', tensors: [{ name: 'blk.0.attn_q.weight', bytes: 12 }] },
  arenaSlots: 4096,
  cacheType: 'q8_0',
  rowsMax: 512,
  next: { host: '10.0.0.2', port: 7601, workerId: 'w2' },
  linkToken: 'secret',
} satisfies ControlMessage;

const ready = {
  kind: 'ready',
  epoch: 3,
  shardBytes: 1,
  arenaBytes: 2,
  residentBytes: 3,
  isBatchInvariant: true,
  stepCurve: [
    { rows: 1, micros: 31_000.5 },
    { rows: 8, micros: 61_000 },
  ],
} satisfies ControlMessage;

const everyKind: readonly ControlMessage[] = [
  { kind: 'hello', token: null, worker },
  { kind: 'hello', token: 'join-token', worker },
  { kind: 'progress', epoch: 3, loadedBytes: 10, totalBytes: 20 },
  ready,
  { kind: 'failed', epoch: 3, code: 'MODEL_TRUNCATED', message: 'The file ends early.' },
  { kind: 'fetch', requestId: 1, fileIndex: 0, offset: 2 ** 40, bytes: limits.fileChunkBytesMax },
  { kind: 'welcome', workerId: 'w1', heartbeatEveryMs: 500, heartbeatSilenceMs: 10_000 },
  assign,
  { ...assign, stageIndex: 1, layerStart: 8, layerEnd: 16, next: null },
  { kind: 'unassign', epoch: 3 },
  { kind: 'link', linkToken: 'secret', epoch: 3, fromStage: 0 },
  { kind: 'linked', epoch: 3 },
  { kind: 'ping', sentAtMs: 12.5 },
  { kind: 'pong', sentAtMs: 12.5 },
  { kind: 'error', code: 'JOIN_REFUSED', message: 'Wrong token.' },
  { kind: 'bye', reason: 'drained' },
];

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
  it.each(everyKind.map((message) => [message.kind, message] as const))('transfers %s', (_, message) => {
    expect(decodeControl(transfer(message))).toEqual(message);
  });

  it('drops unknown fields at every depth but keeps the model as it is', () => {
    const message = receivedJson({ ...assign, future: 1, next: { ...assign.next, future: 2 } });
    expect(message).toEqual(assign);
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
    ['a missing field', { kind: 'progress', epoch: 1, loadedBytes: 1 }, /totalBytes/],
    ['a negative size', { kind: 'progress', epoch: 1, loadedBytes: -1, totalBytes: 1 }, /loadedBytes/],
    [
      'a fraction of a thread',
      { kind: 'hello', token: null, worker: { ...worker, threads: 0.5 } },
      /worker\.threads/,
    ],
    ['no threads', { kind: 'hello', token: null, worker: { ...worker, threads: 0 } }, /worker\.threads/],
    [
      'a long name',
      { kind: 'hello', token: null, worker: { ...worker, name: 'x'.repeat(257) } },
      /worker\.name/,
    ],
    [
      'a long list',
      { kind: 'hello', token: null, worker: { ...worker, cpuFeatures: Array(257).fill('a') } },
      /cpuFeatures/,
    ],
    [
      'a port out of range',
      { kind: 'hello', token: null, worker: { ...worker, dataPort: 65_536 } },
      /dataPort/,
    ],
    [
      'a fetch over the limit',
      { kind: 'fetch', requestId: 1, fileIndex: 0, offset: 0, bytes: limits.fileChunkBytesMax + 1 },
      /bytes/,
    ],
    [
      'the speed of an unknown type of cache',
      {
        kind: 'hello',
        token: null,
        worker: { ...worker, attentionMicros: { ...worker.attentionMicros, q4_0: 1 } },
      },
      /attentionMicros/,
    ],
    [
      'the speed of fewer types than there are',
      { kind: 'hello', token: null, worker: { ...worker, attentionMicros: { f16: 1 } } },
      /attentionMicros/,
    ],
    [
      'attention in no time',
      {
        kind: 'hello',
        token: null,
        worker: { ...worker, attentionMicros: { ...worker.attentionMicros, f16: 0 } },
      },
      /attentionMicros\.f16/,
    ],
    ['an unknown type of cache', { ...assign, cacheType: 'f32' }, /cacheType/],
    ['no step curve', { ...ready, stepCurve: undefined }, /stepCurve/],
    ['an empty step curve', { ...ready, stepCurve: [] }, /stepCurve/],
    ['a long step curve', { ...ready, stepCurve: Array(65).fill({ rows: 1, micros: 1 }) }, /stepCurve/],
    ['a step of no rows', { ...ready, stepCurve: [{ rows: 0, micros: 1 }] }, /stepCurve\.0\.rows/],
    [
      'a step over the limit',
      { ...ready, stepCurve: [{ rows: limits.stepRowsMax + 1, micros: 1 }] },
      /stepCurve\.0\.rows/,
    ],
    ['a step in no time', { ...ready, stepCurve: [{ rows: 1, micros: 0 }] }, /stepCurve\.0\.micros/],
    ['layers backwards', { ...assign, layerEnd: 0 }, /layerEnd/],
    ['a stage beyond the last', { ...assign, stageIndex: 2 }, /stageIndex/],
    ['a middle stage without a next', { ...assign, next: null }, /next/],
    ['a last stage with a next', { ...assign, stageIndex: 1 }, /next/],
    [
      'silence shorter than the beat',
      { kind: 'welcome', workerId: 'w', heartbeatEveryMs: 9, heartbeatSilenceMs: 9 },
      /heartbeatSilenceMs/,
    ],
  ])('refuses %s', (_, value, message) => {
    expect(() => receivedJson(value)).toThrow(message);
    expect(() => receivedJson(value)).toThrow(ButterflyError);
  });

  it('refuses to send what the peer would refuse', () => {
    expect(() => encodeControl({ ...assign, rowsMax: 0 })).toThrow(/rowsMax/);
  });

  it('refuses frames of another type', () => {
    expect(() =>
      decodeControl({ type: 'step', header: Buffer.from('{}'), payload: Buffer.alloc(0) }),
    ).toThrow(/step frame/);
  });

  it('throws nothing but PROTOCOL_INVALID for noise, cut and nested JSON', () => {
    const texts = everyKind.map((message) => Buffer.from(JSON.stringify(message)));
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
      fc.constant(Buffer.from(`{"kind":"assign","model":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_001)}`)),
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
