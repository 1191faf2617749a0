import { join } from 'node:path';
import { ButterflyError } from '@butterfly/common';

/** A model on a hub, as people write it: `hf:ORG/REPO`, or `hf:ORG/REPO:FILE`. */
export interface HubReference {
  /** `ORG/REPO` */
  readonly repo: string;
  /** Path within the repository; null lets the only GGUF file be taken. */
  readonly file: string | null;
}

const prefix = 'hf:';

export function isHubReference(text: string): boolean {
  return text.startsWith(prefix);
}

/** @throws ButterflyError CONFIG_INVALID */
export function parseHubReference(text: string): HubReference {
  const match = /^hf:([\w-][\w.-]*\/[\w-][\w.-]*)(?::(.+))?$/su.exec(text);
  const repo = match?.[1];
  const file = match?.[2] ?? null;
  if (repo === undefined || (file !== null && !isSafePath(file)))
    throw new ButterflyError(
      'CONFIG_INVALID',
      `"${text}" names no model of a hub; write hf:ORG/REPO or hf:ORG/REPO:FILE.gguf.`,
    );
  return { repo, file };
}

/** Whether a path that a stranger chose stays within the folder that it is put into, on every system. */
export function isSafePath(path: string): boolean {
  return (
    path.length <= 512 &&
    !/[\p{Cc}\\:*?"<>|]/u.test(path) &&
    path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  );
}

/** Where a file of a hub lies on this machine once it is pulled. */
export function localPath(directory: string, repo: string, file: string): string {
  return join(directory, ...repo.split('/'), ...file.split('/'));
}

/** All parts of the model that a file belongs to, in order: of a file that is not split, itself. */
export function partsOf(file: string): readonly string[] {
  const name = /^(?<start>.*)-\d{5}-of-(?<count>\d{5})\.gguf$/su.exec(file)?.groups;
  const count = Number(name?.count ?? 0);
  if (count < 1) return [file];
  return Array.from(
    { length: count },
    (_, index) => `${name?.start ?? ''}-${fiveDigits(index + 1)}-of-${fiveDigits(count)}.gguf`,
  );
}

/**
 * The models among the files of a repository, each by its first part.
 */
export function modelsAmong(files: readonly string[]): readonly string[] {
  const firsts = files.filter((file) => /\.gguf$/iu.test(file)).map((file) => partsOf(file)[0] ?? file);
  return [...new Set(firsts)].sort();
}

function fiveDigits(value: number): string {
  return String(value).padStart(5, '0');
}
