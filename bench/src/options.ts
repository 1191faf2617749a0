import { parseArgs } from 'node:util';

/** What every benchmark is told; each uses what concerns it. */
export interface BenchOptions {
  readonly repeats: number;
  /** A GGUF file instead of the benchmark's own models; null for those. */
  readonly model: string | null;
  /** Numbers of concurrent clients. */
  readonly clients: readonly number[];
  /** Requests of one load; null for a number that suits its clients. */
  readonly requests: number | null;
  /** Poisson arrivals per second; null for a rate below what both sides can do. */
  readonly ratePerSecond: number | null;
  /** Threads of one process. */
  readonly threads: number;
  /** Print where a step spends its time instead. */
  readonly profile: boolean;
  /** A folder with llama.cpp's own server, for those who measure it; null without. */
  readonly llamaBin: string | null;
  /** Models so small that they only show whether the benchmark runs. */
  readonly isQuick: boolean;
}

/** Those who measure llama.cpp's own server. */
const besideLlamaServer: readonly string[] = ['single', 'serve', 'servers', 'split'];

/** Reads the command line after the benchmark's name. @throws Error that says what is wrong */
export function parseOptions(args: readonly string[]): {
  readonly name: string;
  readonly options: BenchOptions;
} {
  const { positionals, values } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      repeats: { type: 'string' },
      model: { type: 'string' },
      clients: { type: 'string', default: '1,2,4,8,16' },
      requests: { type: 'string' },
      rate: { type: 'string' },
      threads: { type: 'string', default: '2' },
      profile: { type: 'boolean', default: false },
      'llama-bin': { type: 'string' },
      quick: { type: 'boolean', default: false },
    },
  });
  const [name = ''] = positionals;
  if (values['llama-bin'] !== undefined && (!besideLlamaServer.includes(name) || values.profile))
    throw new Error(
      `--llama-bin is for ${besideLlamaServer.join(', ')}, without --profile; leave it out, or choose one of these.`,
    );
  return {
    name,
    options: {
      repeats: wholeNumber('repeats', values.repeats ?? (name === 'single' ? '5' : '3')),
      model: values.model ?? null,
      clients: values.clients.split(',').map((text) => wholeNumber('clients', text)),
      requests: values.requests === undefined ? null : wholeNumber('requests', values.requests),
      ratePerSecond: values.rate === undefined ? null : positive('rate', values.rate),
      threads: wholeNumber('threads', values.threads),
      profile: values.profile,
      llamaBin: values['llama-bin'] ?? null,
      isQuick: values.quick,
    },
  };
}

function wholeNumber(name: string, text: string): number {
  const value = positive(name, text);
  if (!Number.isSafeInteger(value)) throw new Error(`--${name} takes whole numbers, and got ${text}.`);
  return value;
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < Infinity)) throw new Error(`--${name} takes numbers above 0, and got ${text}.`);
  return value;
}
