import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRight, tryCase, type CaseEnd } from './try-case.js';

export interface ArchitectureReport {
  /** Cases by how they ended. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Cases whose error says nothing of the model, or is none. */
  readonly wrong: readonly CaseEnd[];
}

/** Tries models whose headers were changed at random, several at once, each surveyed in a process of its own. */
export async function fuzzArchitectures(options: {
  readonly cases: number;
  readonly seed: string;
  readonly processes: number;
  readonly onProgress?: (cases: number) => void;
}): Promise<ArchitectureReport> {
  const folder = await mkdtemp(join(tmpdir(), 'butterfly-headers-'));
  const outcomes: Record<string, number> = {};
  const wrong: CaseEnd[] = [];
  let index = 0;
  const work = async (): Promise<void> => {
    while (index < options.cases) {
      const own = index++;
      const end = await tryCase({ seed: options.seed, index: own, path: join(folder, `${own}.gguf`) });
      outcomes[end.outcome] = (outcomes[end.outcome] ?? 0) + 1;
      if (!isRight(end)) wrong.push(end);
      options.onProgress?.(Object.values(outcomes).reduce((sum, count) => sum + count, 0));
    }
  };
  try {
    await Promise.all(Array.from({ length: options.processes }, work));
  } finally {
    await rm(folder, { recursive: true });
  }
  return { outcomes, wrong };
}
