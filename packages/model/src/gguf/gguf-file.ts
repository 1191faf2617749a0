import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { ButterflyError, type Logger, limits } from '@butterfly/common';
import { settledStamp, stampOf } from './file-stamp.js';
import { ggmlTypes, tensorBytes } from './ggml-types.js';
import { parseGgufHeader } from './header.js';
import type { GgufHeader, Metadata } from './header.js';
import { checkVocabulary } from './vocabulary/check-vocabulary.js';
import { sampleWeights } from './weight-sample.js';

/** One file of a model, which may be split over several. */
interface GgufPart {
  readonly path: string;
  readonly bytes: number;
  /** Where the tensor data starts. */
  readonly metadataBytes: number;
  /** SHA-256 of the first `metadataBytes`, in hex. */
  readonly metadataSha256: string;
  /** SHA-256 over samples of its tensors, in hex; both hashes tell files apart that certainly differ. */
  readonly weightsSha256: string;
  /** As `fileStamp` makes it: the same as long as nothing in the file has changed. */
  readonly stamp: string;
}

export interface GgufTensor {
  readonly name: string;
  /** Number of the ggml type. */
  readonly type: number;
  readonly typeName: string;
  /** Elements, the fastest dimension (the row) first. */
  readonly shape: readonly number[];
  readonly fileIndex: number;
  /** Byte offset in its file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface GgufFile {
  readonly files: readonly GgufPart[];
  /** Of the first part. */
  readonly metadata: Metadata;
  /** Bytes of each key with its type and value as written, without those of long arrays. */
  readonly entries: GgufHeader['entries'];
  readonly tensors: readonly GgufTensor[];
}

interface PartContent {
  readonly part: GgufPart;
  readonly metadata: Metadata;
  readonly entries: GgufHeader['entries'];
  readonly tensors: readonly GgufTensor[];
}

interface PlacedFile {
  readonly path: string;
  readonly fileBytes: number;
  readonly fileIndex: number;
}

/** Holds the metadata of most models; the window doubles until it holds all of it. */
const windowStartBytes = 1024 * 1024;

/**
 * Reads metadata and tensor table of a model, given its file or any part of a split one. Of the weights it reads no more
 * than a few KiB of each tensor. A vocabulary on which libllama would end the process is refused here, before anyone
 * hands the file to it.
 * @throws ButterflyError MODEL_NOT_FOUND, MODEL_NOT_GGUF, MODEL_TRUNCATED, MODEL_CORRUPT, MODEL_UNSUPPORTED, MODEL_CHANGED
 */
export async function openGguf(path: string, options: { readonly log?: Logger } = {}): Promise<GgufFile> {
  const given = await readPart(path, 0);
  const count = splitNumber(given, 'split.count') ?? 1;
  const parts = count > 1 ? await readParts(given, count) : [given];
  const tensors = parts.flatMap((part) => part.tensors);
  checkNames(tensors, path);
  const [first = given] = parts;
  const declared = splitNumber(first, 'split.tensors.count');
  if (count > 1 && declared !== undefined && declared !== tensors.length)
    throw corrupt(path, `its ${count} parts hold ${tensors.length} tensors instead of ${declared}`);
  options.log?.debug({ path, parts: parts.length, tensors: tensors.length }, 'read the model metadata');
  return {
    files: parts.map(({ part }) => part),
    metadata: first.metadata,
    entries: first.entries,
    tensors,
  };
}

/** The metadata of one file, and where its tensors are. */
interface GgufContent extends Pick<GgufFile, 'metadata' | 'entries' | 'tensors'> {
  /** Where the tensor data starts. */
  readonly dataOffset: number;
}

/**
 * What `openGguf` reads and checks of a file before it looks at weights, of bytes that are in memory: its metadata, its
 * vocabulary, and the places of its tensors. Gives the number of bytes that it needs at least when `prefix` ends too early.
 * @param prefix the file from its start
 * @throws ButterflyError MODEL_NOT_GGUF, MODEL_TRUNCATED, MODEL_CORRUPT, MODEL_UNSUPPORTED
 */
export function readGgufBytes(prefix: Uint8Array, fileBytes: number, path: string): GgufContent | number {
  const header = parseGgufHeader(prefix, fileBytes, path);
  if (typeof header === 'number') return header;
  const content = checkedContent(header, prefix, { path, fileBytes, fileIndex: 0 });
  checkNames(content.tensors, path);
  return { ...content, metadata: header.metadata, entries: header.entries };
}

function checkedContent(
  header: GgufHeader,
  prefix: Uint8Array,
  file: PlacedFile,
): Pick<GgufContent, 'tensors' | 'dataOffset'> {
  checkVocabulary(header, prefix, file.path);
  return placeTensors(header, file);
}

async function readParts(given: PartContent, count: number): Promise<PartContent[]> {
  const { path } = given.part;
  if (count > limits.modelFilesMax) throw corrupt(path, `it claims ${count} parts`);
  const name = /^(?<prefix>.*)-(?<no>\d{5})-of-(?<count>\d{5})\.gguf$/su.exec(path)?.groups;
  const no = splitNumber(given, 'split.no');
  if (name?.prefix === undefined || Number(name.count) !== count || Number(name.no) - 1 !== no)
    throw corrupt(
      path,
      `it is part ${(no ?? -1) + 1} of ${count}, which its name contradicts; rename it to MODEL-${fiveDigits((no ?? 0) + 1)}-of-${fiveDigits(count)}.gguf`,
    );
  const parts: PartContent[] = [];
  for (let index = 0; index < count; index++) {
    const partPath = `${name.prefix}-${fiveDigits(index + 1)}-of-${fiveDigits(count)}.gguf`;
    const part = await readPart(partPath, index);
    if (splitNumber(part, 'split.count') !== count || splitNumber(part, 'split.no') !== index)
      throw corrupt(partPath, `it does not say that it is part ${index + 1} of ${count}`);
    parts.push(part);
  }
  return parts;
}

async function readPart(path: string, fileIndex: number): Promise<PartContent> {
  const handle = await openFile(path);
  try {
    const stamp = await settledStamp(handle);
    const { size } = await handle.stat();
    const { header, prefix } = await readHeader(handle, size, path);
    const { tensors, dataOffset } = checkedContent(header, prefix, { path, fileBytes: size, fileIndex });
    // Padding and what follows it is in the window or, at the very end, nowhere.
    const metadataBytes = Math.min(dataOffset, size);
    const metadata =
      metadataBytes <= prefix.byteLength ? prefix : await readPrefix(handle, prefix, metadataBytes, path);
    const metadataSha256 = createHash('sha256').update(metadata.subarray(0, metadataBytes)).digest('hex');
    const weightsSha256 = await sampleWeights(handle, tensors).catch((thrown: unknown) => {
      throw asFileError(thrown, path);
    });
    if ((await stampOf(handle)) !== stamp)
      throw new ButterflyError(
        'MODEL_CHANGED',
        `${path} was written to while it was read. Wait until whatever writes it has finished, and start again.`,
      );
    return {
      part: { path, bytes: size, metadataBytes, metadataSha256, weightsSha256, stamp },
      metadata: header.metadata,
      entries: header.entries,
      tensors,
    };
  } finally {
    await handle.close();
  }
}

/** Opens a regular file; anything else (a directory, a pipe that would block) is refused before it is opened. */
async function openFile(path: string): Promise<FileHandle> {
  try {
    if (!(await stat(path)).isFile())
      throw new ButterflyError('MODEL_NOT_FOUND', `${path} is not a file. Give the path of a .gguf file.`);
    return await open(path, 'r');
  } catch (thrown) {
    throw asFileError(thrown, path);
  }
}

function asFileError(thrown: unknown, path: string): ButterflyError {
  if (thrown instanceof ButterflyError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown error';
  const problem = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
  const remedy = code === 'ENOENT' ? 'Check the path' : 'Check its permissions and its disk';
  return new ButterflyError('MODEL_NOT_FOUND', `The model file ${path} ${problem}. ${remedy}.`, {
    cause: thrown,
  });
}

async function readHeader(
  handle: FileHandle,
  fileBytes: number,
  path: string,
): Promise<{ header: GgufHeader; prefix: Uint8Array }> {
  let prefix: Uint8Array = new Uint8Array(0);
  let wantedBytes = windowStartBytes;
  for (;;) {
    prefix = await readPrefix(handle, prefix, Math.min(wantedBytes, fileBytes), path);
    const header = parseGgufHeader(prefix, fileBytes, path);
    if (typeof header !== 'number') return { header, prefix };
    wantedBytes = Math.max(header, prefix.byteLength * 2);
  }
}

/** Grows the bytes read so far to a length within the file. */
async function readPrefix(
  handle: FileHandle,
  have: Uint8Array,
  bytes: number,
  path: string,
): Promise<Uint8Array> {
  const prefix = new Uint8Array(bytes);
  prefix.set(have.subarray(0, bytes));
  let filled = Math.min(have.byteLength, bytes);
  while (filled < bytes) {
    const { bytesRead } = await handle
      .read(prefix, filled, bytes - filled, filled)
      .catch((thrown: unknown) => {
        throw asFileError(thrown, path);
      });
    if (bytesRead === 0)
      throw new ButterflyError(
        'MODEL_TRUNCATED',
        `${path} became shorter while it was read. Download the file again.`,
      );
    filled += bytesRead;
  }
  return prefix;
}

/** Turns offsets relative to the tensor data into places in the file; like ggml, it accepts no gap and no overlap. */
function placeTensors(header: GgufHeader, file: PlacedFile): { tensors: GgufTensor[]; dataOffset: number } {
  const align = (offset: number): number => Math.ceil(offset / header.alignment) * header.alignment;
  const dataOffset = header.tensors.length > 0 ? align(header.endOffset) : header.endOffset;
  let expectedOffset = 0;
  let endOffset = header.endOffset;
  const tensors = header.tensors.map(({ name, type: typeId, shape, offset }): GgufTensor => {
    const type = ggmlTypes.get(typeId);
    if (type === undefined)
      throw new ButterflyError(
        'MODEL_UNSUPPORTED',
        `${file.path}: tensor "${name}" has the unknown type ${typeId}. Quantise the model again, as Q4_K_M or Q8_0 for instance.`,
      );
    if ((shape[0] ?? 0) % type.blockSize !== 0)
      throw corrupt(
        file.path,
        `rows of tensor "${name}" (${shape[0] ?? 0}) are no whole blocks of ${type.name}`,
      );
    const bytes = tensorBytes(type, shape);
    if (offset !== expectedOffset)
      throw corrupt(
        file.path,
        `tensor "${name}" is at offset ${offset} of the tensor data instead of ${expectedOffset}`,
      );
    expectedOffset = align(offset + bytes);
    endOffset = dataOffset + offset + bytes;
    if (!Number.isSafeInteger(expectedOffset))
      throw corrupt(file.path, `tensor "${name}" is impossibly large`);
    return {
      name,
      type: typeId,
      typeName: type.name,
      shape,
      fileIndex: file.fileIndex,
      offset: dataOffset + offset,
      bytes,
    };
  });
  if (endOffset > file.fileBytes)
    throw new ButterflyError(
      'MODEL_TRUNCATED',
      `${file.path} is truncated: ${endOffset} bytes expected, ${file.fileBytes} found. Download the file again.`,
    );
  return { tensors, dataOffset };
}

function checkNames(tensors: readonly GgufTensor[], path: string): void {
  const seen = new Set<string>();
  for (const { name } of tensors) {
    if (seen.has(name)) throw corrupt(path, `tensor "${name}" occurs twice`);
    seen.add(name);
  }
}

function splitNumber(content: PartContent, key: string): number | undefined {
  const value = content.metadata.get(key);
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
  throw corrupt(content.part.path, `${key} is no count`);
}

function corrupt(path: string, problem: string): ButterflyError {
  return new ButterflyError(
    'MODEL_CORRUPT',
    `${path} is corrupt: ${problem}. Download or convert the model again.`,
  );
}

function fiveDigits(value: number): string {
  return String(value).padStart(5, '0');
}
