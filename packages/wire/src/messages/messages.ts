import { z } from 'zod';
import { ButterflyError } from '@butterfly/common';
import { encodeFrame } from '../frames/frame.js';
import type { Frame } from '../frames/frame.js';
import * as constraints from './constraints.js';
import * as epochs from './epochs.js';
import * as identity from './identity.js';
import * as membership from './membership.js';
import * as shards from './shards.js';

/** Every message, by what it is about. */
const controlSchema = z.discriminatedUnion('kind', [
  identity.enrol,
  identity.enrolled,
  identity.renew,
  identity.renewed,
  identity.revoked,
  membership.hello,
  membership.welcome,
  membership.openModel,
  membership.closeModel,
  membership.profile,
  membership.probe,
  membership.probed,
  membership.peer,
  membership.peerWelcome,
  membership.probeBlock,
  membership.ping,
  membership.pong,
  membership.error,
  membership.bye,
  shards.prepare,
  shards.release,
  shards.progress,
  shards.prepared,
  shards.unprepared,
  shards.fetch,
  shards.fetchMissing,
  shards.digests,
  shards.digested,
  epochs.assign,
  epochs.unassign,
  epochs.ready,
  epochs.failed,
  epochs.witness,
  epochs.link,
  epochs.linked,
  constraints.constraint,
  constraints.dropConstraint,
  constraints.constraintReady,
  constraints.constraintRefused,
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
/** What a worker measured of itself for a model. */
export type WorkerProfile = Omit<ControlMessageOf<'profile'>, 'kind' | 'heldShards'>;

/** What a worker tells about a shard that it holds. */
export type StageReport = Omit<ControlMessageOf<'prepared'>, 'kind' | 'shardId'>;

/**
 * A full frame. Overlong `message` and `reason` texts are cut.
 * @throws ButterflyError PROTOCOL_INVALID when a field is out of its bounds.
 */
export function encodeControl(message: ControlMessage): Uint8Array[] {
  return encodeFrame({ type: 'control', header: Buffer.from(JSON.stringify(parse(message))) });
}

/** The connection reads each control message right before its handler does; frames are immutable, so once is enough. */
let last: { readonly frame: Frame; readonly message: ControlMessage } | null = null;

/**
 * Fields that this version does not know are dropped.
 * @throws ButterflyError PROTOCOL_INVALID
 */
export function decodeControl(frame: Frame): ControlMessage {
  if (last?.frame === frame) return last.message;
  if (frame.type !== 'control')
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      `A ${frame.type} frame arrived where a control frame belongs.`,
    );
  const message = parse(parseJson(frame.header));
  last = { frame, message };
  return message;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
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
