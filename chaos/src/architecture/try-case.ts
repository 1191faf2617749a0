import { open, rm } from 'node:fs/promises';
import { ButterflyError, type ErrorCode, silentLogger } from '@butterfly/common';
import { loadGgml, rowBytes } from '@butterfly/ggml';
import { describeAny, surveyInChild } from '@butterfly/llama-graph';
import { openGguf } from '@butterfly/model';
import {
  type ArchitectureHeader,
  type TensorEntry,
  architectureFixtures,
  architectureHeader,
  encodeGgufHeader,
  randomBits,
} from '@butterfly/testkit';
import { mutate, type Below } from './mutate.js';

export interface CaseEnd {
  readonly index: number;
  /** What was changed in which architecture. */
  readonly change: string;
  /** `described`, or the code of the error. */
  readonly outcome: string;
  readonly message: string;
}

/** What may be said of a model that cannot be run. */
const refusals: ReadonlySet<string> = new Set<ErrorCode>([
  'MODEL_UNSUPPORTED',
  'MODEL_CORRUPT',
  'MODEL_TRUNCATED',
  'TIMEOUT',
]);

/** Whether a case ended as it should: described, or refused by an error that says why. */
export function isRight({ outcome }: CaseEnd): boolean {
  return outcome === 'described' || refusals.has(outcome);
}

const fixtures = architectureFixtures();
const headers = new Map<string, ArchitectureHeader>();
/** A prime, so that few cases are of many architectures that differ, and many cases of all. */
const stride = 37;
const alignment = 32;
/** Files are sparse, but not endlessly long. */
const dataBytesMax = 2 ** 34;

/** Makes the case of a number, and describes its model as a server does. */
export async function tryCase(options: {
  readonly seed: string;
  readonly index: number;
  readonly path: string;
}): Promise<CaseEnd> {
  const { seed, index, path } = options;
  const next = randomBits(`${seed}/${index}`);
  const below: Below = (bound) => (next() >>> 0) % bound;
  const fixture = fixtures[(index * stride) % fixtures.length];
  if (!fixture) throw new RangeError('there are no fixtures');
  const header = headers.get(fixture.name) ?? architectureHeader(fixture, 'Q8_0');
  headers.set(fixture.name, header);
  const { header: changed, change } = mutate(header, fixture.architecture, below);
  const end = (outcome: string, message: string): CaseEnd => ({
    index,
    change: `${fixture.name} ${change}`,
    outcome,
    message,
  });
  await writeSparse(path, changed);
  try {
    const survey = (request: Parameters<typeof surveyInChild>[0]): ReturnType<typeof surveyInChild> =>
      surveyInChild(request, { ggmlDirectory: undefined, timeoutMs: 60_000 });
    await describeAny(await openGguf(path), survey);
    return end('described', '');
  } catch (thrown) {
    if (thrown instanceof ButterflyError) return end(thrown.code, thrown.message);
    return end('thrown', String(thrown));
  } finally {
    await rm(path);
  }
}

/** A file whose tensors lie one behind the other, and are all zero. */
async function writeSparse(
  path: string,
  { metadata, tensors }: Pick<ArchitectureHeader, 'metadata' | 'tensors'>,
): Promise<void> {
  let offset = 0;
  const placed = tensors.map((tensor): TensorEntry => {
    const entry = { ...tensor, offset };
    offset += Math.ceil(bytesOf(tensor) / alignment) * alignment;
    return entry;
  });
  const bytes = encodeGgufHeader(metadata, placed);
  const file = await open(path, 'w');
  try {
    await file.writeFile(bytes);
    await file.truncate(bytes.length + Math.min(offset, dataBytesMax));
  } finally {
    await file.close();
  }
}

/** Of a tensor whose rows are no whole blocks of its type, which nobody may have, as if they were of bytes. */
function bytesOf({ type, shape }: TensorEntry): number {
  const [columns = 1, ...others] = shape;
  const rows = others.reduce((product, each) => product * each, 1);
  try {
    return rowBytes(loadGgml({ log: silentLogger }), type, columns) * rows;
  } catch {
    return columns * rows;
  }
}
