import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensure, silentLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { type GgufFile, openGguf } from '@butterfly/model';
import {
  type ArchitectureHeader,
  type MetadataEntry,
  architectureFixtures,
  architectureHeader,
  encodeGgufHeader,
} from '@butterfly/testkit';
import { afterAll, beforeAll } from 'vitest';

/** For the tests of this package. */
export const ggml = loadGgml({ log: silentLogger });

let folder: string;

/** Files of architectures whose weights are all zero, in a folder that the tests of a file share. */
export function useFixtures(): void {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'butterfly-llama-graph-'));
  });
  afterAll(() => rm(folder, { recursive: true }));
}

/**
 * Opens the file of a fixture.
 * @param changes of keys without the prefix of the architecture; undefined takes one away.
 */
export async function openFixture(
  name: string,
  changes: Readonly<Record<string, MetadataEntry | undefined>> = {},
): Promise<GgufFile> {
  const fixture = architectureFixtures().find((each) => each.name === name);
  ensure(fixture !== undefined, () => `There is no fixture ${name}.`);
  const header = architectureHeader(fixture, 'Q8_0');
  const metadata = changed(header, fixture.architecture, changes);
  const path = join(folder, `${name}.gguf`);
  const bytes = encodeGgufHeader(metadata, header.tensors);
  await writeFile(path, bytes);
  await truncate(path, bytes.length + header.dataBytes);
  return openGguf(path);
}

function changed(
  { metadata }: ArchitectureHeader,
  architecture: string,
  changes: Readonly<Record<string, MetadataEntry | undefined>>,
): Record<string, MetadataEntry> {
  const all = new Map(Object.entries(metadata));
  for (const [key, entry] of Object.entries(changes))
    if (entry) all.set(`${architecture}.${key}`, entry);
    else all.delete(`${architecture}.${key}`);
  return Object.fromEntries(all);
}
