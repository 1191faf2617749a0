import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ButterflyError, type ErrorCode } from '@butterfly/common';
import {
  type MetadataEntry,
  type TensorEntry,
  cachedSyntheticModel,
  encodeGgufHeader,
  tinyModel,
} from '@butterfly/testkit';
import { gguf as readIndependently } from '@huggingface/gguf';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeFamilyModel } from '../spec/describe.js';
import { openGguf } from './gguf-file.js';
import { parseGgufHeader } from './header.js';

const trained = fileURLToPath(new URL('../../../../../shared/models/aidreams-260k.gguf', import.meta.url));

let folder: string;
let tiny: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-gguf-'));
  tiny = await cachedSyntheticModel(tinyModel);
});
afterAll(() => rm(folder, { recursive: true }));

async function write(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

/** A file of a header and as many zero bytes as its tensors need. */
function fileOf(
  metadata: Readonly<Record<string, MetadataEntry>>,
  tensors: readonly TensorEntry[] = [],
  dataBytes = 0,
): Uint8Array {
  return Buffer.concat([encodeGgufHeader(metadata, tensors), Buffer.alloc(dataBytes)]);
}

function tensor(name: string, offset: number, changes: Partial<TensorEntry> = {}): TensorEntry {
  return { name, type: 0, shape: [8], offset, ...changes };
}

async function expectError(path: string, code: ErrorCode, message: string | RegExp): Promise<void> {
  const error: unknown = await openGguf(path).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ButterflyError);
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) as unknown });
}

describe('openGguf', () => {
  it.each(['trained', 'synthetic'])('reads a %s model as another reader does', async (which) => {
    const path = which === 'trained' ? trained : tiny;
    const [read, other] = [await openGguf(path), await readIndependently(path, { allowLocalFile: true })];
    const dataOffset = Number(other.tensorDataOffset);
    expect(read.tensors.map(({ name, type, shape, offset }) => ({ name, type, shape, offset }))).toEqual(
      other.tensorInfos.map(({ name, dtype, shape, offset }) => ({
        name,
        type: dtype,
        shape: shape.map(Number),
        offset: dataOffset + Number(offset),
      })),
    );
    const otherMetadata = new Map<string, unknown>(Object.entries(other.metadata));
    for (const [key, value] of read.metadata) {
      const otherValue = otherMetadata.get(key);
      if (typeof value === 'object') expect(otherValue).toHaveLength(value.length);
      else expect(otherValue).toEqual(value);
    }
    const bytes = await readFile(path);
    const metadataSha256 = createHash('sha256').update(bytes.subarray(0, dataOffset)).digest('hex');
    expect(read.files).toEqual([
      {
        path,
        bytes: bytes.byteLength,
        metadataBytes: dataOffset,
        metadataSha256,
        weightsSha256: expect.stringMatching(/^[0-9a-f]{64}$/u) as string,
        stamp: expect.stringMatching(/^\d+-\d+-\d+-\d+$/u) as string,
      },
    ]);
  });

  it('keeps short arrays and counts long ones', async () => {
    const strings = Array.from({ length: 5000 }, (_, index) => `token ${index}`);
    const path = await write(
      'arrays.gguf',
      fileOf({
        short: { type: 'i32s', value: [1, -2] },
        long: { type: 'strings', value: strings },
        after: { type: 'string', value: 'ok' },
      }),
    );
    expect([...(await openGguf(path)).metadata]).toEqual([
      ['short', { kind: 'array', length: 2, values: [1, -2] }],
      ['long', { kind: 'array', length: 5000, values: null }],
      ['after', 'ok'],
    ]);
  });

  it('reads metadata beyond its first window, whole to the last byte', async () => {
    const text = 'é'.repeat(1_500_000);
    const path = await write(
      'long.gguf',
      fileOf({
        padding: { type: 'string', value: 'x'.repeat(900_000) },
        text: { type: 'string', value: text },
      }),
    );
    expect((await openGguf(path)).metadata.get('text')).toBe(text);
  });

  it('reads no weights: a file of 100 GB opens as a small one does', async () => {
    const rows = 100 * 2 ** 20;
    const path = await write('huge.gguf', fileOf({}, [tensor('x', 0, { shape: [256, rows] })]));
    const headerBytes = encodeGgufHeader({}, [tensor('x', 0)]).byteLength;
    await truncate(path, headerBytes + 1024 * rows + 32);
    const { tensors, files } = await openGguf(path);
    expect(tensors[0]?.bytes).toBe(1024 * rows);
    expect(files[0]?.metadataBytes).toBeLessThan(200);
  });
});

describe('split models', () => {
  let parts: string[];
  beforeAll(async () => {
    const first = await cachedSyntheticModel({ ...tinyModel, split: 3 });
    await cp(dirname(first), join(folder, 'split'), { recursive: true });
    parts = [1, 2, 3].map((no) => join(folder, 'split', `model-0000${no}-of-00003.gguf`));
  });

  it('opens all parts, given any', async () => {
    const whole = await openGguf(tiny);
    for (const part of parts) {
      const split = await openGguf(part);
      expect(split.files.map(({ path }) => path)).toEqual(parts);
      expect(split.tensors.map(({ name }) => name)).toEqual(whole.tensors.map(({ name }) => name));
      expect(new Set(split.tensors.map(({ fileIndex }) => fileIndex))).toEqual(new Set([0, 1, 2]));
      expect(split.metadata.get('general.architecture')).toBe('llama');
      expect(describeFamilyModel(split).layers).toBe(3);
    }
  });

  it('names the part that is missing', async () => {
    const [, , last = ''] = parts;
    await rename(last, `${last}.away`);
    await expectError(parts[0] ?? '', 'MODEL_NOT_FOUND', basename(last));
    await rename(`${last}.away`, last);
  });

  it('refuses parts under another name or in another order', async () => {
    const [first = '', second = ''] = parts;
    const renamed = await write('model.gguf', await readFile(first));
    await expectError(renamed, 'MODEL_CORRUPT', 'rename it to MODEL-00001-of-00003.gguf');
    await mkdir(join(folder, 'swapped'));
    for (const part of parts) await cp(part, join(folder, 'swapped', basename(part)));
    await cp(first, join(folder, 'swapped', basename(second)));
    await expectError(join(folder, 'swapped', basename(first)), 'MODEL_CORRUPT', 'part 2 of 3');
  });

  it('refuses parts that together lack tensors', async () => {
    const split = (no: number, tensors: number): Record<string, MetadataEntry> => ({
      'split.no': { type: 'u16', value: no },
      'split.count': { type: 'u16', value: 2 },
      'split.tensors.count': { type: 'i32', value: tensors },
    });
    const path = await write('few-00001-of-00002.gguf', fileOf(split(0, 3), [tensor('a', 0)], 32));
    await write('few-00002-of-00002.gguf', fileOf(split(1, 3), [tensor('b', 0)], 32));
    await expectError(path, 'MODEL_CORRUPT', '2 tensors instead of 3');
    await write('few-00002-of-00002.gguf', fileOf(split(1, 2), [tensor('a', 0)], 32));
    await expectError(path, 'MODEL_CORRUPT', 'occurs twice');
  });
});

describe('bad files', () => {
  it('says what is no file', async () => {
    await expectError(join(folder, 'nothing.gguf'), 'MODEL_NOT_FOUND', 'does not exist');
    await expectError(folder, 'MODEL_NOT_FOUND', 'is not a file');
    await expectError(join(trained, 'below.gguf'), 'MODEL_NOT_FOUND', 'cannot be read');
    await expectError('/dev/null', 'MODEL_NOT_FOUND', 'is not a file');
  });

  it('says what is no GGUF', async () => {
    const header = Buffer.from(fileOf({}));
    const version = (bytes: number[]): Buffer =>
      Buffer.concat([header.subarray(0, 4), Buffer.from(bytes), header.subarray(8)]);
    await expectError(await write('a', Buffer.alloc(0)), 'MODEL_NOT_GGUF', 'is not a GGUF');
    await expectError(await write('b', Buffer.from('PK not a model')), 'MODEL_NOT_GGUF', 'is not a GGUF');
    await expectError(await write('c', version([0, 0, 0, 3])), 'MODEL_NOT_GGUF', 'big-endian');
    await expectError(await write('d', version([1, 0, 0, 0])), 'MODEL_NOT_GGUF', 'version 1');
    await expectError(await write('e', version([9, 0, 0, 0])), 'MODEL_NOT_GGUF', 'version 9');
  });

  it('tells a file that ends early from a whole one, wherever it ends', async () => {
    const bytes = await readFile(tiny);
    const { files } = await openGguf(tiny);
    const metadataBytes = files[0]?.metadataBytes ?? 0;
    const cut = await write('cut.gguf', bytes.subarray(0, bytes.byteLength - 1000));
    await expectError(
      cut,
      'MODEL_TRUNCATED',
      new RegExp(`\\d+ bytes expected, ${bytes.byteLength - 1000} found`, 'u'),
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 4, max: metadataBytes - 32 }), async (length) => {
        await expectError(
          await write('cut.gguf', bytes.subarray(0, length)),
          'MODEL_TRUNCATED',
          'within its metadata',
        );
      }),
      { numRuns: 50 },
    );
  });

  it.each<[string, Uint8Array, ErrorCode, RegExp]>([
    [
      'overlapping tensors',
      fileOf({}, [tensor('a', 0), tensor('b', 0)], 64),
      'MODEL_CORRUPT',
      /offset 0 .* instead of 32/u,
    ],
    ['a misaligned tensor', fileOf({}, [tensor('a', 4)], 64), 'MODEL_CORRUPT', /offset 4/u],
    [
      'a tensor name used twice',
      fileOf({}, [tensor('a', 0), tensor('a', 32)], 64),
      'MODEL_CORRUPT',
      /twice/u,
    ],
    [
      'rows that are no whole blocks',
      fileOf({}, [tensor('a', 0, { type: 2 })], 64),
      'MODEL_CORRUPT',
      /whole blocks of Q4_0/u,
    ],
    [
      'an empty dimension',
      fileOf({}, [tensor('a', 0, { shape: [8, 0] })], 64),
      'MODEL_CORRUPT',
      /impossible shape/u,
    ],
    [
      'a shape beyond all numbers',
      fileOf({}, [tensor('a', 0, { shape: [2 ** 40, 2 ** 40] })], 64),
      'MODEL_CORRUPT',
      /impossible shape/u,
    ],
    [
      'too many dimensions',
      fileOf({}, [tensor('a', 0, { shape: [1, 1, 1, 1, 1] })], 64),
      'MODEL_CORRUPT',
      /5 dimensions/u,
    ],
    ['an unknown type', fileOf({}, [tensor('a', 0, { type: 99 })], 64), 'MODEL_UNSUPPORTED', /type 99/u],
    ['a retired type', fileOf({}, [tensor('a', 0, { type: 31 })], 64), 'MODEL_UNSUPPORTED', /type 31/u],
    [
      'an odd alignment',
      fileOf({ 'general.alignment': { type: 'u32', value: 24 } }),
      'MODEL_CORRUPT',
      /alignment/u,
    ],
    [
      'a split of no number',
      fileOf({ 'split.count': { type: 'string', value: 'two' } }),
      'MODEL_CORRUPT',
      /split.count/u,
    ],
    ['tensors beyond its end', fileOf({}, [tensor('a', 0)], 16), 'MODEL_TRUNCATED', /bytes expected/u],
  ])('refuses %s', async (_, bytes, code, message) => {
    await expectError(await write('bad.gguf', bytes), code, message);
  });

  it('refuses absurd counts without allocating for them', async () => {
    const counts = (tensors: bigint, keys: bigint): Buffer => {
      const header = Buffer.from(fileOf({}));
      header.writeBigUInt64LE(tensors, 8);
      header.writeBigUInt64LE(keys, 16);
      return header;
    };
    await expectError(await write('a', counts(2n ** 64n - 1n, 0n)), 'MODEL_CORRUPT', 'tensors');
    await expectError(await write('b', counts(0n, 2n ** 40n)), 'MODEL_CORRUPT', 'metadata keys');
    await expectError(await write('c', counts(60_000n, 0n)), 'MODEL_TRUNCATED', 'within its metadata');
  });
});

describe('corruption', () => {
  it('of any byte of the header gives a model or a typed error', async () => {
    const bytes = new Uint8Array(await readFile(tiny));
    const { files } = await openGguf(tiny);
    const metadataBytes = files[0]?.metadataBytes ?? 0;
    let refused = 0;
    for (let index = 0; index < metadataBytes; index++) {
      const original = bytes[index] ?? 0;
      for (const value of [original ^ 0x80, original ^ 1, 0xff]) {
        bytes[index] = value;
        try {
          expect(parseGgufHeader(bytes.subarray(0, metadataBytes), bytes.byteLength, 'x')).toBeDefined();
        } catch (thrown) {
          if (!(thrown instanceof ButterflyError)) throw thrown;
          refused++;
        }
      }
      bytes[index] = original;
    }
    expect(refused).toBeGreaterThan(1000);
  });

  it('of several bytes, and truncation, give a described model or a typed error', async () => {
    const original = await readFile(tiny);
    const { files } = await openGguf(tiny);
    const metadataBytes = files[0]?.metadataBytes ?? 0;
    const change = fc.record({
      at: fc.nat(metadataBytes - 1),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.option(fc.nat(original.byteLength)),
        async (changes, length) => {
          const bytes = Buffer.from(original);
          for (const { at, bytes: replacement } of changes) bytes.set(replacement, at);
          const path = await write('fuzz.gguf', bytes.subarray(0, length ?? bytes.byteLength));
          const result: unknown = await openGguf(path)
            .then(describeFamilyModel)
            .catch((thrown: unknown) => thrown);
          if (result instanceof Error) expect(result).toBeInstanceOf(ButterflyError);
          else expect(result).toMatchObject({ architecture: 'llama' });
        },
      ),
      { numRuns: 500 },
    );
  });
});
