import { deadlines, limits } from '@butterfly/common';
import { expertWishes } from '@butterfly/planning';
import { cacheTypes } from '@butterfly/wire';
import { InvalidArgumentError, Option, type Argument, type Command } from 'commander';

/**
 * Has every option and argument of a command refuse a blank value, as a script leaves it whose variable is not set: taking
 * it as the default would hide that. A prompt may be blank, so arguments of any number are left alone.
 */
export function refuseBlankValues(command: Command): void {
  const described: readonly (Option | Argument)[] = [
    ...command.options.filter(({ required, optional }) => required || optional),
    ...command.registeredArguments.filter(({ variadic }) => !variadic),
  ];
  for (const each of described) {
    const parse = each.parseArg;
    each.argParser((text: string, previous: unknown): unknown => {
      if (text.trim() === '') throw new InvalidArgumentError('It is blank; give a value or leave it out.');
      return parse ? parse(text, previous) : text;
    });
  }
}

/** A parser for commander: a whole number within bounds. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    return value;
  };
}

export function decimal(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= min && value <= max))
      throw new InvalidArgumentError(`It must be a number from ${min} to ${max}.`);
    return value;
  };
}

export const defaultHubUrl = 'https://huggingface.co';

const units: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Bytes, with an optional binary unit: `6000000000`, `512M`, `6G`. */
export function byteCount(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text);
  const bytes = Math.floor(Number(match?.[1]) * (units[match?.[2]?.toUpperCase() ?? ''] ?? 1));
  if (!match || !Number.isSafeInteger(bytes) || bytes < 1)
    throw new InvalidArgumentError('It must be a number of bytes, such as 6000000000 or 6G.');
  return bytes;
}

/** As `byteCount`, with 0 for nothing at all. */
export function byteCountOrNone(text: string): number {
  return text === '0' ? 0 : byteCount(text);
}

export const port = wholeNumber(0, 65_535);

/** `--kv-cache-type`, for the commands that run a model. */
export function cacheTypeOption(): Option {
  return new Option('--kv-cache-type <type>', 'type of cached keys and values; auto takes the fastest')
    .choices(['auto', ...cacheTypes])
    .default('auto');
}

/** `--no-awake`, for the commands that run workers. */
export function awakeOption(): Option {
  return new Option(
    '--no-awake',
    'let idle cores sleep deeply between steps: less power, and more time for each token (Linux)',
  );
}

/** `--device`, for the commands that start workers: one for each name. */
export function devicesOption(): Option {
  return new Option(
    '--device <names>',
    'workers on these devices, one for each, such as vulkan0,cpu; see "butterfly devices" (default: each graphics card, else cpu)',
  )
    .argParser((text) => {
      const names = text.split(',').map((name) => name.trim().toLowerCase());
      if (names.length > limits.localWorkersMax)
        throw new InvalidArgumentError(`It may name ${limits.localWorkersMax} devices at most.`);
      return names;
    })
    .conflicts('workers');
}

/** `--experts`, for workers on graphics cards. */
export function expertsOption(): Option {
  return new Option(
    '--experts <where>',
    'where a graphics card has the experts of a model: on the "device", in the memory of the "host" beside it, or there as far as they do not fit ("auto")',
  )
    .choices(expertWishes)
    .default('auto');
}

/** `--ctx` and `--parallel`, for the commands that reserve a KV cache. */
export function contextOption(): Option {
  return new Option('--ctx <tokens>', 'context of one request (default: as trained, at most 4096)').argParser(
    wholeNumber(8, 1 << 20),
  );
}
export function parallelOption(): Option {
  return new Option('--parallel <n>', 'contexts that the KV cache has room for')
    .argParser(wholeNumber(1, 256))
    .default(4);
}

/** `--state-checkpoints`, for the commands that reserve the states of a model. */
export function stateCheckpointsOption(): Option {
  return new Option(
    '--state-checkpoints <n>',
    'states of prompts and answers to keep for later requests, for models whose layers have such (default: one for each of the contexts, at least 4)',
  ).argParser(wholeNumber(0, limits.stateCheckpointsMax));
}

/** `--spares`, for the commands that make a plan. */
export function sparesOption(): Option {
  return new Option(
    '--spares <n>',
    'workers of each pipeline that hold a second copy of layers, where the others hold the model',
  )
    .argParser(wholeNumber(0, 64))
    .default(0);
}

/** `--verify`, for the commands that serve. */
export function verifyOption(): Option {
  return new Option(
    '--verify <share>',
    'share of the requests, from 0 to 1, whose steps a spare worker computes too, to find workers whose numbers are wrong; needs --spares',
  )
    .argParser(decimal(0, 1))
    .default(0);
}

/** `--replicas`, for the commands that make a plan. */
export function replicasOption(): Option {
  return new Option(
    '--replicas <n>',
    'pipelines at most that share the requests, each with all layers, where workers and memory allow it',
  )
    .argParser(wholeNumber(1, limits.replicasMax))
    .default(1);
}

/** `--cache-dir`, for the commands that keep something for the next start. */
export function cacheDirectoryOption(): Option {
  return new Option(
    '--cache-dir <path>',
    'where weights from elsewhere and measurements are kept (default: butterfly/weights in the cache of the user)',
  );
}

/** `--hub-url`, for the commands that fetch models. */
export function hubUrlOption(): Option {
  return new Option('--hub-url <url>', `URL of the hub (default: HF_ENDPOINT, else ${defaultHubUrl})`);
}

/** `--data-dir`, for the commands that keep certificates. */
export function dataDirectoryOption(): Option {
  return new Option(
    '--data-dir <path>',
    'where keys and certificates of clusters are kept (default: butterfly in the data folder of the user)',
  );
}

/** `--require-key` and its opposite, for the command that listens. */
export function keyRequirementOptions(): readonly Option[] {
  return [
    new Option(
      '--require-key',
      'let nobody ask without an API key (default: where --host is no loopback address)',
    ),
    new Option('--no-require-key', 'let whoever reaches the API ask, on a network that you trust as a whole'),
  ];
}

/** `--tls-cert` and `--tls-key`. */
export function certificateOptions(): readonly Option[] {
  return [
    new Option(
      '--tls-cert <file>',
      'certificate of the API, with those above it, in PEM; read again when it changes',
    ),
    new Option('--tls-key <file>', 'its private key, in PEM'),
  ];
}

/** `--key`, for the commands that ask a server. */
export function apiKeyOption(): Option {
  return new Option('--key <text>', 'API key, for a server that needs one (default: BUTTERFLY_API_KEY)');
}

/** `--insecure`, for the commands that join or open a cluster. */
export function insecureOption(): Option {
  return new Option(
    '--insecure [where]',
    'without certificates or encryption, for a trusted bench: on this machine alone, or "anywhere"',
  )
    .choices(['loopback', 'anywhere'])
    .preset('loopback');
}

/** `--cache-bytes`, for the commands that run workers. */
export function cacheBytesOption(): Option {
  return new Option(
    '--cache-bytes <bytes>',
    'most bytes of weights kept there, such as 20G; 0 keeps none (default: 50G, or a tenth of the disk if that is less)',
  ).argParser(byteCountOrNone);
}

/** `--speculation`, for the commands that run a model. */
export function speculationOption(): Option {
  return new Option(
    '--speculation <mode>',
    'guess tokens by prompt lookup where that pays and leaves the output as it is',
  )
    .choices(['auto', 'off'])
    .default('auto');
}

/** `--deterministic`, for the commands that run a model. */
export function deterministicOption(): Option {
  return new Option(
    '--deterministic',
    'compute so that a stream never depends on others, or on failures: slower, and the same to the last bit',
  );
}

/** Another name of a model. */
export interface Alias {
  readonly name: string;
  /** Its path as it was given, or the name of its file. */
  readonly model: string;
}

/** `--alias`, which may be given several times. */
export function aliasOption(): Option {
  return new Option(
    '--alias <name=model>',
    'another name for a model, which is named as it is served, or by its file; can be repeated',
  ).argParser((text, others: readonly Alias[] | undefined) => {
    const [name, model] = [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)];
    if (!text.includes('=') || name === '' || model === '')
      throw new InvalidArgumentError('Write it as NAME=MODEL.');
    return bounded([...(others ?? []), { name, model }]);
  });
}

const durationUnitsMs: Readonly<Record<string, number>> = { '': 1_000, s: 1_000, m: 60_000, h: 3_600_000 };

/** `--keep-alive`, in milliseconds; Infinity for ever. */
export function keepAliveOption(): Option {
  return new Option(
    '--keep-alive <duration>',
    'unload a model that nobody asked for so long, such as 30s, 10m or 2h; it is loaded again when it is asked for (default: it stays)',
  )
    .argParser((text) => {
      const [, count, unit] = /^(\d{1,6})([smh]?)$/.exec(text) ?? [];
      if (count === undefined) throw new InvalidArgumentError('Write it as 30s, 10m or 2h.');
      return Number(count) * (durationUnitsMs[unit ?? ''] ?? 0);
    })
    .default(Infinity, 'it stays');
}

/** `--stream-keep-alive`, in milliseconds. */
export function streamKeepAliveOption(): Option {
  const seconds = wholeNumber(0, 3600);
  return new Option(
    '--stream-keep-alive <seconds>',
    `silence on a stream before a comment breaks it, for proxies; 0 for never (default: ${deadlines.keepAliveMs / 1000})`,
  ).argParser((text) => seconds(text) * 1000);
}

/** `--cors`, which may be given several times. */
export function corsOption(): Option {
  return new Option(
    '--cors <origin>',
    'let pages of this origin ask, such as https://chat.example; * lets all; can be repeated',
  ).argParser((text, others: readonly string[] | undefined) => bounded([...(others ?? []), origin(text)]));
}

/** `--allow-host`, which may be given several times. */
export function allowHostOption(): Option {
  return new Option(
    '--allow-host <name>',
    'answer under this name too where --host is a loopback address, as behind a proxy; can be repeated',
  ).argParser((text, others: readonly string[] | undefined) => {
    if (!/^(?:[a-z\d_-]+\.)*[a-z\d_-]+$|^[\da-f:]*:[\da-f:.]*$/i.test(text))
      throw new InvalidArgumentError('It must be a name or an address, without scheme and port.');
    return bounded([...(others ?? []), text]);
  });
}

function bounded<T>(texts: readonly T[]): readonly T[] {
  if (texts.length > limits.originsMax)
    throw new InvalidArgumentError(`It may be given ${limits.originsMax} times at most.`);
  return texts;
}

/** As browsers write an origin: in small letters, without the port that the scheme has anyway. */
function origin(text: string): string {
  if (text === '*') return text;
  if (!/^[a-z][a-z\d+.-]*:\/\/[^\s/?#@]+\/?$/i.test(text) || !URL.canParse(text))
    throw new InvalidArgumentError('It must be an origin such as https://chat.example:3000, or *.');
  // Schemes of applications, such as app://, have an origin for browsers only.
  const given = new URL(text);
  return given.origin === 'null' ? text.toLowerCase().replace(/\/$/, '') : given.origin;
}
