import { allowedCpus, coreOf } from '@butterfly/ggml';

/** A CPU as the system counts them, and the core that it is a thread of. */
export interface Cpu {
  readonly cpu: number;
  readonly core: number;
}

/**
 * CPUs of its own for each of several workers on this machine; null when there is nothing to share out, when there are
 * too few, or where the system does not tell which there are.
 */
export function cpusOfWorkers(workers: number, threads: number): number[][] | null {
  const cpus = workers > 1 ? allowedCpus() : null;
  return (
    cpus &&
    shareCpus(
      cpus.map((cpu) => ({ cpu, core: coreOf(cpu) })),
      workers,
      threads,
    )
  );
}

/**
 * Gives each worker as many CPUs as it has threads: as many whole cores as possible are in use, and those of one worker
 * are neighbours. Null when there are too few.
 */
export function shareCpus(cpus: readonly Cpu[], workers: number, threads: number): number[][] | null {
  if (workers * threads > cpus.length) return null;
  const byNumber = [...cpus].sort((a, b) => a.cpu - b.cpu);
  const seen = new Map<number, number>();
  /** How many CPUs of its core come before it: a second thread of a core adds little. */
  const ranked = byNumber.map(({ cpu, core }) => {
    const rank = seen.get(core) ?? 0;
    seen.set(core, rank + 1);
    return { cpu, core, rank };
  });
  const chosen = ranked
    .sort((a, b) => a.rank - b.rank)
    .slice(0, workers * threads)
    .sort((a, b) => a.core - b.core || a.cpu - b.cpu)
    .map(({ cpu }) => cpu);
  return Array.from({ length: workers }, (_, index) => chosen.slice(index * threads, (index + 1) * threads));
}
