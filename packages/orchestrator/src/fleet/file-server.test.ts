import { createHash } from 'node:crypto';
import {
  appendFile,
  mkdtemp,
  open,
  readdir,
  readlink,
  rm,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limits } from '@butterfly/common';
import { type ModelFile, type ModelTensor, sampleWeights, settledStamp } from '@butterfly/model';
import {
  Channel,
  Connection,
  type ControlMessage,
  type ControlMessageOf,
  type FileChunk,
  type Listener,
  decodeControl,
  decodeFileChunk,
  dial,
  listen,
} from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileServer } from './file-server.js';

const sizes = [3000, limits.fileChunkBytesMax + 1000];
const contentOf = (file: number): Buffer => Buffer.alloc(sizes[file] ?? 0, `file ${file} has this in it. `);

/** One in each file. */
const tensors = sizes.map((bytes, fileIndex): ModelTensor => ({
  ...{ name: `t${fileIndex}`, type: 0, typeName: 'F32', shape: [bytes / 4 - 25] },
  ...{ fileIndex, offset: 100, bytes: bytes - 100 },
}));

async function writeModelFile(path: string, bytes: number, file: number): Promise<ModelFile> {
  await writeFile(path, contentOf(file));
  await using handle = await open(path, 'r');
  const weightsSha256 = await sampleWeights(
    handle,
    tensors.filter(({ fileIndex }) => fileIndex === file),
  );
  const stamp = await settledStamp(handle);
  return { path, bytes, metadataBytes: 100, metadataSha256: '0'.repeat(64), weightsSha256, stamp };
}

let folder: string;
let files: ModelFile[];
let server: FileServer;
let listener: Listener;
/** The orchestrator's side, and what arrives at the worker's. */
let connection: Connection;
let worker: Connection;
let chunks: FileChunk[];
let onChunk: () => void;
let onControl: (message: ControlMessage) => void;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-files-'));
  files = await Promise.all(
    sizes.map((bytes, file) => writeModelFile(join(folder, `${file}.gguf`), bytes, file)),
  );
  server = new FileServer({ files, tensors });
  chunks = [];
  onChunk = () => undefined;
  onControl = () => undefined;
  let accept: (connection: Connection) => void = () => undefined;
  const accepted = new Promise<Connection>((resolve) => (accept = resolve));
  const handlers = { onFrame: () => undefined, onClose: () => undefined };
  listener = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: (socket) => accept(new Connection(socket, { handlers })),
  });
  worker = await dial({
    host: '127.0.0.1',
    port: listener.port,
    handlers: {
      ...handlers,
      onFrame: (frame) => {
        if (frame.type === 'control') {
          onControl(decodeControl(frame));
          return;
        }
        chunks.push(decodeFileChunk(frame));
        onChunk();
      },
    },
  });
  connection = await accepted;
});
afterEach(async () => {
  await worker.close();
  await server.close();
  await listener.close();
  await rm(folder, { recursive: true });
});

let nextId = 0;
const request = (fileIndex: number, offset: number, bytes: number): ControlMessageOf<'fetch'> => ({
  kind: 'fetch',
  requestId: nextId++,
  fileIndex,
  offset,
  bytes,
});

async function arrived(count: number): Promise<readonly FileChunk[]> {
  while (chunks.length < count) await new Promise<void>((resolve) => (onChunk = resolve));
  return chunks;
}

const refused = (code: string): unknown => expect.objectContaining({ code });

describe('FileServer', () => {
  it.each([
    [0, 0, 3000],
    [0, 2999, 1],
    [0, 100, 200],
    [1, 0, limits.fileChunkBytesMax],
    [1, 1000, limits.fileChunkBytesMax],
  ])('sends of file %i from %i on %i bytes, with their hash', async (file, offset, bytes) => {
    const asked = request(file, offset, bytes);
    await server.serve(connection, asked);
    const [chunk] = await arrived(1);
    const expected = contentOf(file).subarray(offset, offset + bytes);
    expect(chunk?.requestId).toBe(asked.requestId);
    expect(Buffer.compare(chunk?.bytes ?? new Uint8Array(0), expected)).toBe(0);
    expect(Buffer.from(chunk?.sha256 ?? []).equals(createHash('sha256').update(expected).digest())).toBe(
      true,
    );
  });

  it.each([
    [2, 0, 1],
    [0, 3000, 1],
    [0, 2999, 2],
    [0, 0, 3001],
    [1, limits.fileChunkBytesMax, 1001],
  ])('refuses bytes that do not exist: of file %i from %i on %i bytes', async (file, offset, bytes) => {
    await expect(server.serve(connection, request(file, offset, bytes))).rejects.toThrow(
      refused('PROTOCOL_INVALID'),
    );
    expect(chunks).toEqual([]);
  });

  it('serves a few ranges at once and refuses more, of each worker', async () => {
    const most = limits.fileFetchesInFlightMax;
    const serving = Array.from({ length: most }, (_, i) =>
      server.serve(connection, request(1, i * 1000, 1000)),
    );
    await expect(server.serve(connection, request(0, 0, 1))).rejects.toThrow(refused('PROTOCOL_INVALID'));
    // Another worker is not to blame.
    await server.serve(worker, request(0, 0, 1));
    await Promise.all(serving);
    await server.serve(connection, request(0, 0, 1));
    expect(await arrived(most + 1)).toHaveLength(most + 1);
  });

  it('has room again after a range that it refused', async () => {
    for (let i = 0; i < limits.fileFetchesInFlightMax * 2; i++)
      await expect(server.serve(connection, request(0, 2999, 2))).rejects.toThrow(
        refused('PROTOCOL_INVALID'),
      );
    await server.serve(connection, request(0, 0, 1));
    expect(await arrived(1)).toHaveLength(1);
  });

  it('says that a file became shorter', async () => {
    await server.serve(connection, request(0, 0, 10));
    await truncate(files[0]?.path ?? '', 1000);
    await expect(server.serve(connection, request(0, 500, 1000))).rejects.toThrow(refused('MODEL_TRUNCATED'));
  });

  it('says that a file is gone that was never opened', async () => {
    const path = files[0]?.path ?? '';
    await unlink(path);
    await expect(server.serve(connection, request(0, 0, 10))).rejects.toThrow(
      expect.objectContaining({ code: 'MODEL_NOT_FOUND', message: expect.stringMatching(path) as string }),
    );
    // The same bytes, but nobody has compared them.
    await writeFile(path, contentOf(0));
    await expect(server.serve(connection, request(0, 0, 10))).rejects.toThrow(refused('MODEL_CHANGED'));
  });

  it('tells a worker why it gives no range, and lets it live', async () => {
    await appendFile(files[0]?.path ?? '', 'more');
    let told: ControlMessage | null = null;
    const said = new Promise<void>((resolve) => {
      onControl = (message) => {
        told = message;
        resolve();
      };
    });
    const asked = request(0, 0, 10);
    await server.answer({ workerId: 'w1', channel: new Channel(connection, 1) }, asked, () => undefined);
    await said;
    const error = { code: 'MODEL_CHANGED', message: expect.stringMatching(/start serve again/iu) as string };
    expect(told).toEqual({ kind: 'fetchMissing', requestId: asked.requestId, error });
    expect(connection.isOpen).toBe(true);
  });

  it('ends the connection of a worker that asks for a range of no file', async () => {
    const channel = new Channel(connection, 1);
    await server.answer({ workerId: 'w1', channel }, request(9, 0, 1), () => undefined);
    expect([connection.isOpen, channel.isOpen]).toEqual([false, false]);
  });

  it('sends the hashes of the chunks of a range', async () => {
    const told = new Promise<ControlMessage>((resolve) => (onControl = resolve));
    await server.serve(connection, {
      ...request(1, 500, sizes[1] ?? 0),
      kind: 'digests',
      bytes: limits.fileChunkBytesMax + 400,
    });
    const whole = contentOf(1);
    const parts = [
      whole.subarray(500, 500 + limits.fileChunkBytesMax),
      whole.subarray(500 + limits.fileChunkBytesMax, 900 + limits.fileChunkBytesMax),
    ];
    expect(await told).toMatchObject({
      kind: 'digested',
      sha256: parts.map((part) => createHash('sha256').update(part).digest('hex')),
    });
  });

  it('ends when the worker is gone', async () => {
    await connection.close();
    // Nobody is left to be told anything.
    await expect(server.serve(connection, request(0, 0, 10))).resolves.toBeUndefined();
  });

  it.runIf(process.platform === 'linux')('opens each file once, and closes them', async () => {
    const open = async (): Promise<number> => {
      const links = (await readdir('/proc/self/fd')).map((fd) =>
        readlink(`/proc/self/fd/${fd}`).catch(() => ''),
      );
      return (await Promise.all(links)).filter((path) => path.startsWith(folder)).length;
    };
    await Promise.all([0, 1, 0, 1].map((file) => server.serve(connection, request(file, 0, 10))));
    expect(await open()).toBe(2);
    await server.close();
    expect(await open()).toBe(0);
  });
});
