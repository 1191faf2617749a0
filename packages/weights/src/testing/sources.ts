import { createHash, randomFillSync } from 'node:crypto';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limits, systemClock, toButterflyError } from '@butterfly/common';
import {
  type ModelSpec,
  type ModelTensor,
  tensorChunks,
  describeFamilyModel,
  openGguf,
  sampleWeights,
  settledStamp,
} from '@butterfly/model';
import {
  Connection,
  type ControlMessageOf,
  type RangeReader,
  RangeServer,
  decodeControl,
  decodeFileChunk,
  encodeControl,
  tcpTransport,
} from '@butterfly/wire';
import { RemoteSource } from '../remote-source.js';

type Fetch = ControlMessageOf<'fetch'>;

const metadataBytes = 100;
const chunk = limits.fileChunkBytesMax;

/** A model file of random bytes with tensors of one and of several chunks. For the tests of this folder. */
export interface TestWeights extends AsyncDisposable {
  /** A folder to write to. */
  readonly folder: string;
  readonly spec: ModelSpec;
  readonly content: Buffer;
  readonly totalBytes: number;
  bytesOf(tensor: ModelTensor): Buffer;
}

/** @param model path of any model, whose shape these weights claim to have */
export async function writeWeights(model: string): Promise<TestWeights> {
  const folder = await mkdtemp(join(tmpdir(), 'butterfly-weights-'));
  const sizes = [5000, chunk, 2 * chunk + 1000, 70_000];
  let end = metadataBytes;
  const tensors = sizes.map((bytes, index): ModelTensor => {
    const offset = end;
    end += bytes;
    return { name: `t${index}`, type: 0, typeName: 'F32', shape: [bytes / 4], fileIndex: 0, offset, bytes };
  });
  const content = randomFillSync(Buffer.alloc(end));
  const path = join(folder, 'model.gguf');
  await writeFile(path, content);
  const file = {
    path,
    bytes: end,
    metadataBytes,
    metadataSha256: createHash('sha256').update(content.subarray(0, metadataBytes)).digest('hex'),
    ...(await fingerprint(path, tensors)),
  };
  const any = describeFamilyModel(await openGguf(model));
  return {
    folder,
    spec: { ...any, files: [file], tensors },
    content,
    totalBytes: end - metadataBytes,
    bytesOf: ({ offset, bytes }) => content.subarray(offset, offset + bytes),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
}

async function fingerprint(
  path: string,
  tensors: readonly ModelTensor[],
): Promise<{ readonly weightsSha256: string; readonly stamp: string }> {
  const handle = await open(path, 'r');
  try {
    return { weightsSha256: await sampleWeights(handle, tensors), stamp: await settledStamp(handle) };
  } finally {
    await handle.close();
  }
}

/** Reads every tensor, chunk by chunk, and gives the bytes of each. */
export async function readAll(
  { tensors }: ModelSpec,
  read: (tensor: ModelTensor, offset: number, target: Uint8Array) => Promise<void>,
): Promise<Buffer[]> {
  const contents: Buffer[] = [];
  for (const tensor of tensors) {
    const whole = Buffer.alloc(tensor.bytes);
    const reads = tensorChunks(tensor).map(({ offset, bytes }) =>
      read(tensor, offset, whole.subarray(offset, offset + bytes)),
    );
    // As a shard does, which frees its memory afterwards.
    for (const result of await Promise.allSettled(reads))
      if (result.status === 'rejected') throw result.reason;
    contents.push(whole);
  }
  return contents;
}

/** Another machine that serves ranges, as orchestrator or, to those who show the token "peer", as worker. */
export interface TestServer extends AsyncDisposable {
  readonly port: number;
  /** What was asked for, in the order of arrival. */
  readonly requests: readonly Fetch[];
  /** Cuts all its connections. */
  cut(): void;
}

export type Answer = (request: Fetch, connection: Connection) => Promise<void>;

/** @param digests answers requests for hashes; by default `answer` does, where it can */
export async function startServer(
  answer: Answer | RangeServer,
  digests = answer instanceof RangeServer ? answer : null,
): Promise<TestServer> {
  const requests: Fetch[] = [];
  const connections: Connection[] = [];
  const serve: Answer = answer instanceof RangeServer ? (request, to) => answer.serve(to, request) : answer;
  const listener = await tcpTransport.listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: (socket) => {
      connections.push(
        new Connection(socket, {
          handlers: {
            onFrame: (frame, from) => {
              const message = decodeControl(frame);
              if (message.kind === 'peer' && message.peerToken === 'peer')
                from.send(encodeControl({ kind: 'peerWelcome' }));
              else if (message.kind === 'fetch') {
                requests.push(message);
                serve(message, from).catch((error: unknown) => from.fail(toButterflyError(error)));
              } else if (message.kind === 'digests')
                (digests
                  ? digests.serveDigests(from, message)
                  : serve({ ...message, kind: 'fetch' }, from)
                ).catch((error: unknown) => from.fail(toButterflyError(error)));
              else throw new RangeError(`unexpected ${message.kind}`);
            },
            onClose: () => undefined,
          },
        }),
      );
    },
  });
  return {
    port: listener.port,
    requests,
    cut: () => {
      for (const connection of connections) connection.destroy(toButterflyError('the plug is pulled'));
    },
    [Symbol.asyncDispose]: () => listener.close(),
  };
}

/** Serves all of a file's content. */
export function rangesOf(content: Buffer): RangeServer {
  const read: RangeReader = ({ offset, bytes }) => Promise.resolve(content.subarray(offset, offset + bytes));
  return new RangeServer(read);
}

/** A worker's side of its connection to the orchestrator. */
export async function joinServer(
  server: TestServer,
): Promise<{ readonly remote: RemoteSource } & AsyncDisposable> {
  let remote: RemoteSource | null = null;
  const connection = await tcpTransport.dial({
    host: '127.0.0.1',
    port: server.port,
    handlers: {
      onFrame: (frame) => {
        if (frame.type === 'fileChunk') remote?.receive(decodeFileChunk(frame));
        else {
          const message = decodeControl(frame);
          if (message.kind === 'fetchMissing') remote?.missing(message);
          else if (message.kind === 'digested') remote?.receiveDigests(message);
        }
      },
      onClose: (error, reason) => remote?.fail(error ?? toButterflyError(reason)),
    },
  });
  remote = new RemoteSource(connection, systemClock);
  return { remote, [Symbol.asyncDispose]: () => connection.close() };
}
