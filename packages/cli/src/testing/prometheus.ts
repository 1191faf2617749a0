import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '@butterfly/testkit';
import { parse } from 'yaml';
import { Folder } from './models.js';

export const deployed = (name: string): string =>
  fileURLToPath(new URL(`../../../../deploy/${name}`, import.meta.url));

export const hasPrometheus = ['prometheus', 'promtool'].every(
  (program) => spawnSync(program, ['--version']).status === 0,
);

/** Only bounds a test that fails. */
const deadlineMs = 60_000;

/** A line of what a server measures. */
interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What `GET /metrics` said, in the text format of Prometheus. */
export class Scrape {
  readonly samples: readonly Sample[];

  constructor(readonly text: string) {
    const lines = [...text.matchAll(/^([\w:]+)(?:\{(.*)\})? (\S+)$/gmu)];
    this.samples = lines.map(([, name = '', labels = '', value]) => ({
      name,
      labels: Object.fromEntries(
        [...labels.matchAll(/(\w+)="([^"]*)"/gu)].map(([, key = '', text]) => [key, text ?? '']),
      ),
      value: Number(value),
    }));
  }

  static async of(url: string): Promise<Scrape> {
    const response = await fetch(`${url}/metrics`);
    return new Scrape(await response.text());
  }

  /** Of the series that have these labels, and maybe others. */
  sum(name: string, labels: Sample['labels'] = {}): number {
    const wanted = Object.entries(labels);
    return this.samples
      .filter((each) => each.name === name && wanted.every(([key, value]) => each.labels[key] === value))
      .reduce((sum, { value }) => sum + value, 0);
  }

  /** All names that an expression may have, whether or not there is a series yet. */
  get names(): ReadonlySet<string> {
    return new Set(
      [...this.text.matchAll(/^# TYPE (\S+) (\w+)$/gmu)].flatMap(([, name = '', type]) =>
        type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name],
      ),
    );
  }
}

/** Waits for a scrape that is as it should be. */
export async function scrapeUntil(url: string, isDone: (scrape: Scrape) => boolean): Promise<Scrape> {
  const endMs = Date.now() + deadlineMs;
  for (;;) {
    const scrape = await Scrape.of(url);
    if (isDone(scrape)) return scrape;
    if (Date.now() > endMs) throw new Error(`It never came to what was waited for:\n${scrape.text}`);
    await delay(50);
  }
}

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { readonly alert: string; readonly expr: string }[];
  }[];
}

interface Panel {
  readonly targets?: readonly { readonly expr: string }[];
}

/** Expressions of the alerts by their names, and those of the dashboard as Grafana asks them. */
export function deployedExpressions(): {
  readonly alerts: ReadonlyMap<string, string>;
  readonly panels: string[];
} {
  const rules = parse(readFileSync(deployed('prometheus/butterfly.rules.yml'), 'utf8')) as Rules;
  const dashboard = JSON.parse(readFileSync(deployed('grafana/butterfly.json'), 'utf8')) as {
    readonly panels: readonly Panel[];
    readonly annotations: { readonly list: readonly { readonly expr: string }[] };
    readonly templating: { readonly list: readonly { readonly definition?: string }[] };
  };
  const { panels, annotations, templating } = dashboard;
  const asked = [
    ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ...annotations.list.map(({ expr }) => expr),
    // The values of its variables are those of a label.
    ...templating.list.flatMap(
      ({ definition }) => /^label_values\((.+), \w+\)$/u.exec(definition ?? '')?.[1] ?? [],
    ),
  ];
  return {
    alerts: new Map(rules.groups.flatMap((group) => group.rules.map(({ alert, expr }) => [alert, expr]))),
    panels: asked.map((expr) =>
      expr
        .replaceAll('$__rate_interval', '5m')
        .replaceAll('$__range', '1h')
        .replaceAll(/\$(?:instance|model)\b/gu, '.*'),
    ),
  };
}

/** A real Prometheus with what is in deploy/prometheus, which scrapes a server each second. */
export class Prometheus implements AsyncDisposable {
  readonly #said: string[] = [];

  private constructor(
    private readonly folder: Folder,
    private readonly child: ChildProcess,
    private readonly url: string,
  ) {
    child.stderr?.on('data', (bytes) => this.#said.push(String(bytes)));
  }

  static async start(target: string, key: string): Promise<Prometheus> {
    const folder = new Folder();
    cpSync(deployed('prometheus'), folder.path, { recursive: true });
    const config = readFileSync(deployed('prometheus/prometheus.yml'), 'utf8');
    const changed = config.replace('127.0.0.1:8080', target).replaceAll(': 15s', ': 1s');
    writeFileSync(`${folder.path}/prometheus.yml`, changed);
    writeFileSync(`${folder.path}/butterfly.key`, `${key}\n`);
    const address = `127.0.0.1:${await freePort()}`;
    const options = [
      `--config.file=${folder.path}/prometheus.yml`,
      `--storage.tsdb.path=${folder.path}/data`,
      `--web.listen-address=${address}`,
      '--log.level=warn',
    ];
    const child = spawn('prometheus', options, { stdio: ['ignore', 'ignore', 'pipe'] });
    return new Prometheus(folder, child, `http://${address}`);
  }

  /** Of its HTTP API. @returns the sum of all series; null where there is none */
  async ask(query: string): Promise<number | null> {
    const response = await fetch(`${this.url}/api/v1/query?query=${encodeURIComponent(query)}`);
    const answer = (await response.json()) as {
      readonly status: string;
      readonly error?: string;
      readonly data?: { readonly result: readonly { readonly value: readonly [number, string] }[] };
    };
    if (answer.status !== 'success' || !answer.data) throw new Error(`${query}: ${answer.error ?? 'failed'}`);
    const { result } = answer.data;
    return result.length === 0 ? null : result.reduce((sum, { value }) => sum + Number(value[1]), 0);
  }

  /** Waits until it has scraped that. */
  async until(query: string, value: number): Promise<void> {
    const endMs = Date.now() + deadlineMs;
    let found: number | string | null = null;
    while (found !== value) {
      if (Date.now() > endMs || this.child.exitCode !== null)
        throw new Error(`${query} is ${String(found)} instead of ${value}.\n${this.#said.join('')}`);
      await delay(100);
      // It listens a moment after its start.
      found = await this.ask(query).catch(String);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    if (this.child.exitCode === null) {
      this.child.kill('SIGKILL');
      await ended;
    }
    this.folder[Symbol.dispose]();
  }
}

/** Runs promtool there. @returns what it said, and how it ended */
export function promtool(
  args: readonly string[],
  cwd: string,
  input = '',
): { readonly status: number | null; readonly said: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd, input, encoding: 'utf8' });
  return { status, said: stdout + stderr };
}
