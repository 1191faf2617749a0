import { ButterflyError } from '@butterfly/common';
import { download, type FileSource, type RemoteFile } from '../download/download.js';
import type { Hub } from './hub.js';
import { isSafePath, localPath, modelsAmong, partsOf, type HubReference } from './reference.js';

export interface PullOptions {
  readonly hub: Hub;
  readonly reference: HubReference;
  readonly directory: string;
  readonly signal: AbortSignal;
  /** Told before each file, and then as it grows. */
  readonly onFile: (file: RemoteFile) => (bytes: number) => void;
  readonly firstPauseMs?: number;
}

/** What lies on this machine now. */
export interface Pulled {
  /** Of the model, or of its first part. */
  readonly path: string;
  readonly repo: string;
  /** Of the model in its repository. */
  readonly file: string;
  readonly bytes: number;
  /** Files that were not there yet. */
  readonly downloaded: number;
}

/**
 * Brings a model with all of its parts to this machine.
 * @throws ButterflyError as `download`; CONFIG_INVALID when the repository has several models
 */
export async function pull({ hub, reference, directory, ...rest }: PullOptions): Promise<Pulled> {
  const { repo } = reference;
  const listed = await hub.files(repo, rest.signal);
  const file = chooseModel(listed, reference);
  const files = partsOf(file).map((path) => {
    const found = listed.find((each) => each.path === path);
    if (!found || !isSafePath(path))
      throw new ButterflyError('NOT_FOUND', `${repo} has no file ${path}; check what it holds.`);
    return found;
  });
  let downloaded = 0;
  for (const each of files) {
    const onProgress = rest.onFile(each);
    const path = localPath(directory, repo, each.path);
    const source = sourceOf(hub, repo, each);
    const task = {
      source,
      file: each,
      path,
      onProgress,
      wrongContent: 'MODEL_CORRUPT' as const,
      placedBy: '--directory',
    };
    if (await download({ ...task, ...rest })) downloaded++;
  }
  return {
    path: localPath(directory, repo, file),
    repo,
    file,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    downloaded,
  };
}

function sourceOf(hub: Hub, repo: string, file: RemoteFile): FileSource {
  return {
    name: 'hub',
    open: (offset, signal) => hub.open(repo, file, offset, signal),
    explainCut: (thrown) => hub.explainCut(thrown),
  };
}

function chooseModel(listed: readonly RemoteFile[], { repo, file }: HubReference): string {
  const models = modelsAmong(listed.map(({ path }) => path));
  const list = models.map((model) => `hf:${repo}:${model}`).join(', ');
  if (file !== null) {
    if (listed.some(({ path }) => path === file)) return partsOf(file)[0] ?? file;
    throw new ButterflyError(
      'NOT_FOUND',
      `${repo} has no file ${file}; ${models.length === 0 ? 'it has no GGUF file at all' : `there are ${list}`}.`,
    );
  }
  const [model, ...others] = models;
  if (model === undefined)
    throw new ButterflyError(
      'NOT_FOUND',
      `${repo} has no GGUF file; look for a repository whose name ends in GGUF.`,
    );
  if (others.length > 0)
    throw new ButterflyError('CONFIG_INVALID', `${repo} has ${models.length} models; name one: ${list}.`);
  return model;
}
