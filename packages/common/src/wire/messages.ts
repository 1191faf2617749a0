import { z } from 'zod';
import { ButterflyError } from '../errors.js';
import { limits } from '../limits.js';
import { cacheTypes } from './cache-type.js';
import { encodeFrame } from './frame.js';
import type { Frame } from './frame.js';

/** Cut, not refused, when longer: a failure must be reported however wordy it is. */
const prose = z.string().overwrite((text) => text.slice(0, 4096));
const name = z.string().min(1).max(256);
const count = z.int().min(0);
const positive = z.int().min(1);
const port = z.int().min(1).max(65_535);
const epoch = count.max(0xffff_ffff);
const requestId = count.max(0xffff_ffff);
const layer = count.max(65_535);
const stage = count.max(limits.workersMax);
/** A day; timers of more than 24 days would fire at once. */
const intervalMs = positive.max(24 * 3_600_000);
const timestampMs = z.number();

const worker = z
  .object({
    /** As people call it. */
    name,
    /** Tells apart machines, not processes. */
    machineId: name,
    butterflyVersion: name,
    ggmlVersion: name,
    /** The ggml CPU library in use, such as "sapphirerapids". */
    cpuVariant: name,
    cpuFeatures: z.array(name).max(256).readonly(),
    /** As in `process.platform` and `process.arch`. */
    platform: name,
    arch: name,
    threads: positive.max(4096),
    /** What it offers for weights and cache. */
    memoryBytes: count,
    /** Where it listens for activations of the stage before it. */
    dataPort: port,
    /** Measured speed of streaming quantised weights through a matrix product. */
    weightBytesPerSecond: z.number().positive(),
    /** Measured time of one query over 2,048 cached tokens of one layer, by type of the cache. */
    attentionMicros: z.record(z.enum(cacheTypes), z.number().positive()).readonly(),
  })
  .readonly();

const hello = z
  .object({ kind: z.literal('hello'), token: z.string().max(512).nullable(), worker })
  .readonly();
const progress = z
  .object({ kind: z.literal('progress'), epoch, loadedBytes: count, totalBytes: count })
  .readonly();
const ready = z
  .object({
    kind: z.literal('ready'),
    epoch,
    shardBytes: count,
    arenaBytes: count,
    residentBytes: count,
    /** Measured time of a step of this stage by its rows, each row of a sequence of its own; rows ascend. */
    stepCurve: z
      .array(z.object({ rows: positive.max(limits.stepRowsMax), micros: z.number().positive() }).readonly())
      .min(1)
      .max(64)
      .readonly(),
    /** Whether a row has the same numbers to the last bit whatever other rows are in its step. */
    isBatchInvariant: z.boolean(),
  })
  .readonly();
const failed = z.object({ kind: z.literal('failed'), epoch, code: name, message: prose }).readonly();
const fetch = z
  .object({
    kind: z.literal('fetch'),
    requestId,
    /** Index into the files of a split model. */
    fileIndex: count.max(limits.modelFilesMax - 1),
    offset: count,
    bytes: positive.max(limits.fileChunkBytesMax),
  })
  .readonly();

const welcome = z
  .object({
    kind: z.literal('welcome'),
    workerId: name,
    heartbeatEveryMs: intervalMs,
    heartbeatSilenceMs: intervalMs,
  })
  .refine((message) => message.heartbeatEveryMs < message.heartbeatSilenceMs, {
    message: 'must be longer than heartbeatEveryMs',
    path: ['heartbeatSilenceMs'],
  })
  .readonly();
const assign = z
  .object({
    kind: z.literal('assign'),
    epoch,
    stageIndex: stage,
    stageCount: stage,
    layerStart: layer,
    /** Exclusive. */
    layerEnd: layer,
    /** Description of the model; the model package validates it. */
    model: z.record(z.string(), z.unknown()).readonly(),
    /** Slots of the KV arena, in tokens. */
    arenaSlots: positive.max(0xffff_ffff),
    cacheType: z.enum(cacheTypes),
    /** Largest number of rows that a step will have. */
    rowsMax: positive.max(limits.stepRowsMax),
    /** Who takes the activations; null for the last stage. */
    next: z.object({ host: name, port, workerId: name }).readonly().nullable(),
    /** Secret of this epoch that stages prove themselves with to each other. */
    linkToken: name,
  })
  .refine((message) => message.layerStart < message.layerEnd, {
    message: 'must be above layerStart',
    path: ['layerEnd'],
  })
  .refine((message) => message.stageIndex < message.stageCount, {
    message: 'must be below stageCount',
    path: ['stageIndex'],
  })
  .refine((message) => (message.next === null) === (message.stageIndex === message.stageCount - 1), {
    message: 'must be null for the last stage and only for it',
    path: ['next'],
  })
  .readonly();
const unassign = z.object({ kind: z.literal('unassign'), epoch }).readonly();

const link = z.object({ kind: z.literal('link'), linkToken: name, epoch, fromStage: stage }).readonly();
const linked = z.object({ kind: z.literal('linked'), epoch }).readonly();

/** `sentAtMs` is of the clock of whoever pings, and comes back unchanged. */
const ping = z.object({ kind: z.literal('ping'), sentAtMs: timestampMs }).readonly();
const pong = z.object({ kind: z.literal('pong'), sentAtMs: timestampMs }).readonly();
/** The last message before its sender closes: what went wrong, with a code of the errors table. */
const error = z.object({ kind: z.literal('error'), code: name, message: prose }).readonly();
/** The last message before its sender closes in order. */
const bye = z.object({ kind: z.literal('bye'), reason: prose }).readonly();

const controlSchema = z.discriminatedUnion('kind', [
  hello,
  progress,
  ready,
  failed,
  fetch,
  welcome,
  assign,
  unassign,
  link,
  linked,
  ping,
  pong,
  error,
  bye,
]);

/** Every control message, told apart by `kind`. Times are milliseconds, sizes bytes. */
export type ControlMessage = z.output<typeof controlSchema>;
/** The control message of one kind. */
export type ControlMessageOf<K extends ControlMessage['kind']> = Extract<
  ControlMessage,
  { readonly kind: K }
>;
/** What a worker tells about itself when it joins. */
export type WorkerIdentity = ControlMessageOf<'hello'>['worker'];

/**
 * A full frame. Overlong `message` and `reason` texts are cut.
 * @throws ButterflyError PROTOCOL_INVALID when a field is out of its bounds.
 */
export function encodeControl(message: ControlMessage): Uint8Array[] {
  return encodeFrame({ type: 'control', header: Buffer.from(JSON.stringify(parse(message))) });
}

/** The connection reads each control message before its handler does; frames are immutable, so once is enough. */
const decoded = new WeakMap<Frame, ControlMessage>();

/**
 * Fields that this version does not know are dropped.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function decodeControl(frame: Frame): ControlMessage {
  const known = decoded.get(frame);
  if (known !== undefined) return known;
  if (frame.type !== 'control')
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      `A ${frame.type} frame arrived where a control frame belongs.`,
    );
  const message = parse(parseJson(frame.header));
  decoded.set(frame, message);
  return message;
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ButterflyError('PROTOCOL_INVALID', 'A control frame is not JSON in UTF-8.', { cause });
  }
}

function parse(value: unknown): ControlMessage {
  const parsed = controlSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue?.path.join('.') ?? '';
  throw new ButterflyError(
    'PROTOCOL_INVALID',
    `A control message${kindOf(value)} is invalid: ${field ? `${field}: ` : ''}${issue?.message ?? 'unknown reason'}.`,
  );
}

function kindOf(value: unknown): string {
  if (typeof value !== 'object' || value === null || !('kind' in value)) return '';
  return typeof value.kind === 'string' ? ` "${value.kind.slice(0, 32)}"` : '';
}
