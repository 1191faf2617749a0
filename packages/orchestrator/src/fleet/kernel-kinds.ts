import type { FleetWorker } from './fleet-worker.js';

/** Pairs that were told of; where there are more, some are told of twice. */
const pairsMax = 64;
/** Of workers and kinds, as many as a line has room for. */
const listedMax = 4;

const promise = 'with --deterministic a text is the same to the byte only while its layers stay on one kind';

type Identified = Pick<FleetWorker, 'identity'>;

/**
 * Which kinds of workers have met: the last bits of numbers depend on the kernels, so the same request gives the same
 * bytes only among workers of one kind, even where stages compute deterministically.
 */
export class KernelKinds {
  readonly #told = new Set<string>();

  /** @param isDeterministic otherwise nobody was promised anything, and nothing is told */
  constructor(private readonly isDeterministic: () => boolean) {}

  /** What is to be told of a newcomer: once for each two kinds. */
  meet(newcomer: Identified, workers: readonly Identified[]): string[] {
    const kind = kernelsOf(newcomer);
    const unlike = [...new Set(workers.map(kernelsOf))].filter(
      (other) => this.isDeterministic() && other !== kind,
    );
    return unlike.flatMap((other) => {
      const pair = [kind, other].sort().join(' and ');
      if (this.#told.has(pair)) return [];
      if (this.#told.size >= pairsMax) this.#told.clear();
      this.#told.add(pair);
      return [`There are workers of ${pair}; ${promise}.`];
    });
  }

  /** Who is of which kind, in words for a person; null where it makes no difference. */
  describe(workers: readonly Identified[]): string | null {
    const names = new Map<string, string[]>();
    for (const worker of workers) {
      const kind = kernelsOf(worker);
      names.set(kind, [...(names.get(kind) ?? []), worker.identity.name]);
    }
    if (!this.isDeterministic() || names.size < 2) return null;
    const kinds = [...names].map(([kind, some]) => `${kind} (${shortened(some, ', ')})`);
    return `There are workers of ${names.size} kinds: ${shortened(kinds, '; ')}; ${promise}.`;
  }
}

/** With what a worker computes, in words for a person; the same for those that compute alike. */
export function kernelsOf({
  identity: { cpuVariant, device, ggmlVersion, platform, arch },
}: Identified): string {
  return `${device?.description ?? cpuVariant} on ${platform} ${arch} with ggml ${ggmlVersion}`;
}

function shortened(all: readonly string[], separator: string): string {
  const rest = all.length - listedMax;
  return all.slice(0, listedMax).join(separator) + (rest > 0 ? `${separator}and ${rest} more` : '');
}
