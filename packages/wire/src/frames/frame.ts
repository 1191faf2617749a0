import { crc32 } from 'node:zlib';
import { ButterflyError, limits, toButterflyError } from '@butterfly/common';

/** Both sides must speak the same version; docs/protocol.md says what raises it. */
export const protocolVersion = 12;

const preludeBytes = 24;
/** The part of the prelude that the prelude checksum covers. */
const checkedBytes = 20;
const channelOffset = 6;
/** Magic and version: the part of the prelude that no future version may change. */
const identityBytes = 5;
/** "BFLY" as a little-endian number. */
const magic = 0x594c4642;
const empty = new Uint8Array(0);

/** Of each token its bytes, one that tells how many they are, and what kind it is. */
const vocabularyBytesMax = limits.tokenPiecesBytesMax + 3 * limits.vocabularyTokensMax;

const frameTypes = {
  control: { id: 1, payloadBytesMax: 0 },
  step: { id: 2, payloadBytesMax: limits.framePayloadBytesMax },
  result: { id: 3, payloadBytesMax: limits.framePayloadBytesMax },
  fileChunk: { id: 4, payloadBytesMax: limits.fileChunkBytesMax },
  activations: { id: 5, payloadBytesMax: limits.framePayloadBytesMax },
  vocabulary: { id: 6, payloadBytesMax: vocabularyBytesMax },
  witnessed: { id: 7, payloadBytesMax: limits.framePayloadBytesMax },
} as const;
export type FrameType = keyof typeof frameTypes;

const typesById = new Map(
  (Object.keys(frameTypes) as FrameType[]).map((type): [number, FrameType] => [frameTypes[type].id, type]),
);

export interface Frame {
  readonly type: FrameType;
  readonly header: Uint8Array;
  /** Often a view into the received chunk, at any alignment; empty when the frame has none. */
  readonly payload: Uint8Array;
}

/** A frame as it came. */
export interface ReceivedFrame extends Frame {
  /** 0 for what is of the connection itself; else the model that it is about. */
  readonly channel: number;
}

const invalid = (message: string): ButterflyError => new ButterflyError('PROTOCOL_INVALID', message);

/**
 * Lays out one frame as `[prelude and header, payload]` (without the second part when it is empty). The payload is
 * not copied, so it must not change until it is sent.
 * @throws ButterflyError PROTOCOL_INVALID when header or payload exceed the limits.
 */
export function encodeFrame(frame: {
  readonly type: FrameType;
  readonly header: Uint8Array;
  readonly payload?: Uint8Array;
}): Uint8Array[] {
  const { type, header, payload = empty } = frame;
  const head = startFrame(type, header, payload, 0);
  return payload.length === 0 ? [head] : [head, payload];
}

/**
 * Lays out one frame in one buffer, with a copy of the payload, which may change afterwards. For what would have to be
 * copied anyway: one buffer is one write.
 * @throws ButterflyError PROTOCOL_INVALID when header or payload exceed the limits.
 */
export function encodeFrameWhole(type: FrameType, header: Uint8Array, payload: Uint8Array): Uint8Array[] {
  const whole = startFrame(type, header, payload, payload.length);
  whole.set(payload, preludeBytes + header.length);
  return [whole];
}

/**
 * Puts a frame that was just laid out, and that nobody else has, on another channel than 0.
 * @param channel of 16 bits
 */
export function putOnChannel(parts: readonly Uint8Array[], channel: number): void {
  const [head] = parts;
  if (!head || head.length < preludeBytes) throw invalid('What is no frame cannot be put on a channel.');
  const prelude = Buffer.from(head.buffer, head.byteOffset, preludeBytes);
  prelude.writeUInt16LE(channel, channelOffset);
  prelude.writeUInt32LE(crc32(prelude.subarray(0, checkedBytes)), checkedBytes);
}

/** Prelude and header, in a buffer with so many bytes more. */
function startFrame(type: FrameType, header: Uint8Array, payload: Uint8Array, moreBytes: number): Buffer {
  checkLengths(type, header.length, payload.length);
  const head = Buffer.allocUnsafe(preludeBytes + header.length + moreBytes);
  head.writeUInt32LE(magic, 0);
  head.writeUInt8(protocolVersion, 4);
  head.writeUInt8(frameTypes[type].id, 5);
  head.writeUInt16LE(0, channelOffset);
  head.writeUInt32LE(header.length, 8);
  head.writeUInt32LE(payload.length, 12);
  const headerChecksum = crc32(header);
  head.writeUInt32LE(payload.length === 0 ? headerChecksum : crc32(payload, headerChecksum), 16);
  head.writeUInt32LE(crc32(head.subarray(0, checkedBytes)), checkedBytes);
  head.set(header, preludeBytes);
  return head;
}

interface Prelude {
  readonly type: FrameType;
  readonly channel: number;
  readonly headerBytes: number;
  readonly payloadBytes: number;
  readonly bodyChecksum: number;
}

/**
 * Cuts a byte stream into frames, however it was chunked. A header or payload that lies in one chunk is passed on as
 * a view; one that spans chunks is gathered in a buffer that is allocated once. Holds no more than one frame besides
 * the chunks that were pushed and not yet read.
 */
export class FrameDecoder {
  #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk that are consumed. */
  #chunkOffset = 0;
  readonly #preludeBytes = Buffer.alloc(preludeBytes);
  #preludeFilled = 0;
  #prelude: Prelude | null = null;
  #header: Uint8Array | null = null;
  #gathered: Uint8Array | null = null;
  #gatheredFilled = 0;
  #checksum = 0;
  #failure: ButterflyError | null = null;
  #isStranger: boolean;

  /** @param isStranger takes nothing but control frames of `limits.greetingBytesMax`, until `trust` is called. */
  constructor({ isStranger = false }: { readonly isStranger?: boolean } = {}) {
    this.#isStranger = isStranger;
  }

  /** From the next frame on, takes everything. */
  trust(): void {
    this.#isStranger = false;
  }

  /** Adds received bytes, which must not change afterwards; read them with `frames`. */
  push(chunk: Uint8Array): void {
    if (chunk.length > 0 && this.#failure === null) this.#chunks.push(chunk);
  }

  /**
   * Yields the frames that are complete. Once it has thrown, it throws the same error for ever: a stream that lost
   * its framing cannot find it again.
   * @throws ButterflyError PROTOCOL_VERSION, PROTOCOL_INVALID
   */
  *frames(): Generator<ReceivedFrame, void, undefined> {
    if (this.#failure !== null) throw this.#failure;
    for (;;) {
      let frame: ReceivedFrame | null;
      try {
        frame = this.#next();
      } catch (thrown) {
        this.#failure = toButterflyError(thrown);
        this.#chunks = [];
        this.#gathered = null;
        throw this.#failure;
      }
      if (frame === null) return;
      yield frame;
    }
  }

  #next(): ReceivedFrame | null {
    this.#prelude ??= this.#takePrelude();
    if (this.#prelude === null) return null;
    this.#header ??= this.#take(this.#prelude.headerBytes);
    if (this.#header === null) return null;
    const payload = this.#take(this.#prelude.payloadBytes);
    if (payload === null) return null;
    if (this.#checksum !== this.#prelude.bodyChecksum)
      throw invalid(
        'A frame arrived corrupted: its checksum does not match. Check the network between the hosts.',
      );
    const { type, channel } = this.#prelude;
    const frame = { type, channel, header: this.#header, payload };
    this.#prelude = null;
    this.#header = null;
    this.#preludeFilled = 0;
    this.#checksum = 0;
    return frame;
  }

  #takePrelude(): Prelude | null {
    this.#preludeFilled += this.#copyInto(this.#preludeBytes, this.#preludeFilled);
    // Before anything else of the layout: another version may have another prelude, even a shorter one.
    if (this.#preludeFilled >= identityBytes) checkIdentity(this.#preludeBytes);
    if (this.#preludeFilled < preludeBytes) return null;
    const prelude = parsePrelude(this.#preludeBytes);
    if (this.#isStranger) checkGreeting(prelude);
    return prelude;
  }

  /** The next `length` bytes once all of them are here, added to the checksum of the body. */
  #take(length: number): Uint8Array | null {
    if (length === 0) return empty;
    const chunk = this.#chunks[0];
    if (chunk === undefined) return null;
    if (this.#gathered === null && chunk.length - this.#chunkOffset >= length) {
      const view = chunk.subarray(this.#chunkOffset, this.#chunkOffset + length);
      this.#consume(length);
      this.#checksum = crc32(view, this.#checksum);
      return view;
    }
    this.#gathered ??= Buffer.allocUnsafeSlow(length);
    const copied = this.#copyInto(this.#gathered, this.#gatheredFilled);
    const fresh = this.#gathered.subarray(this.#gatheredFilled, this.#gatheredFilled + copied);
    this.#checksum = crc32(fresh, this.#checksum);
    this.#gatheredFilled += copied;
    if (this.#gatheredFilled < length) return null;
    const whole = this.#gathered;
    this.#gathered = null;
    this.#gatheredFilled = 0;
    return whole;
  }

  /** Moves pushed bytes to `target` from `start` on until it is full or they run out; returns how many. */
  #copyInto(target: Uint8Array, start: number): number {
    let at = start;
    for (let chunk = this.#chunks[0]; chunk !== undefined && at < target.length; chunk = this.#chunks[0]) {
      const piece = chunk.subarray(this.#chunkOffset, this.#chunkOffset + target.length - at);
      target.set(piece, at);
      at += piece.length;
      this.#consume(piece.length);
    }
    return at - start;
  }

  #consume(bytes: number): void {
    this.#chunkOffset += bytes;
    if (this.#chunkOffset < (this.#chunks[0]?.length ?? 0)) return;
    this.#chunks.shift();
    this.#chunkOffset = 0;
  }
}

function checkIdentity(prelude: Buffer): void {
  if (prelude.readUInt32LE(0) !== magic)
    throw invalid(
      'The peer does not speak the Butterfly protocol; check that the port is the cluster port (not the API port).',
    );
  const version = prelude.readUInt8(4);
  if (version !== protocolVersion)
    throw new ButterflyError(
      'PROTOCOL_VERSION',
      `The peer speaks protocol version ${version} and this side version ${protocolVersion}; ` +
        `upgrade Butterfly on the older side, which is ${version < protocolVersion ? 'the peer' : 'this one'}: ` +
        'npm install -g, with the package of the other side.',
    );
}

function parsePrelude(prelude: Buffer): Prelude {
  if (prelude.readUInt32LE(checkedBytes) !== crc32(prelude.subarray(0, checkedBytes)))
    throw invalid('The prelude of a frame is corrupted: its checksum does not match.');
  const typeId = prelude.readUInt8(5);
  const type = typesById.get(typeId);
  if (type === undefined) throw invalid(`A frame has the unknown type ${typeId}.`);
  const headerBytes = prelude.readUInt32LE(8);
  const payloadBytes = prelude.readUInt32LE(12);
  checkLengths(type, headerBytes, payloadBytes);
  return {
    type,
    channel: prelude.readUInt16LE(channelOffset),
    headerBytes,
    payloadBytes,
    bodyChecksum: prelude.readUInt32LE(16),
  };
}

function checkGreeting({ type, headerBytes }: Prelude): void {
  if (type !== 'control' || headerBytes > limits.greetingBytesMax)
    throw invalid(
      `A ${type} frame of ${headerBytes} header bytes came before its sender had proved itself; ` +
        `only control frames of at most ${limits.greetingBytesMax} bytes are taken until then.`,
    );
}

function checkLengths(type: FrameType, headerBytes: number, payloadBytes: number): void {
  if (headerBytes > limits.frameHeaderBytesMax)
    throw invalid(
      `The header of a ${type} frame has ${headerBytes} bytes; at most ${limits.frameHeaderBytesMax} are allowed.`,
    );
  const { payloadBytesMax } = frameTypes[type];
  if (payloadBytes > payloadBytesMax)
    throw invalid(
      `The payload of a ${type} frame has ${payloadBytes} bytes; at most ${payloadBytesMax} are allowed.`,
    );
}
