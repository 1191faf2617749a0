import { formatMicros } from '@butterfly/common';
import type { ClusterDescription, WorkerDescription } from '@butterfly/orchestrator';
import { fault, hint, ok, type Finding } from './findings.js';

/** What the clocks of two machines showed around one answer, in ms since 1970. */
export interface Clocks {
  readonly askedMs: number;
  readonly answeredMs: number;
  /** Cut to whole seconds, as the header `Date` has it; null of a server that does not tell. */
  readonly serverMs: number | null;
}

/** One way; a token passes each link once, so that five of these cost as much as the token of a small model. */
const slowLatencyMicros = 2_000;
/** 100 Mbit/s: the prompt of a model of 8B, of 4,096 tokens, then takes five seconds on each link. */
const slowBytesPerSecond = 12.5e6;
/** Below that people see no difference in logs. */
const clocksApartMs = 30_000;
/** Certificates begin so long before they are made (`identity/src/authority/certificates.ts`). */
const certificatesBackdatedMs = 24 * 3_600_000;

/** Judges what a running server says of itself. Pure. @param version of Butterfly here */
export function clusterFindings(cluster: ClusterDescription, clocks: Clocks, version: string): Finding[] {
  return [
    ...stateFindings(cluster),
    clockFinding(clocks),
    ...linkFindings(cluster.workers),
    ...versionFindings(cluster.workers, version),
    ...kernelFindings(cluster.workers),
  ];
}

function stateFindings({ model, isReady, detail, trouble, notes }: ClusterDescription): Finding[] {
  const name = model?.id ?? 'the server';
  const state = isReady
    ? ok('server', `${name} is ready`)
    : hint('server', `${name} is not ready: ${detail}`, '"butterfly status" shows its workers.');
  const judge = isReady ? hint : fault;
  return [
    state,
    ...(trouble
      ? [
          judge(
            'trouble',
            `${trouble.code}: ${trouble.message}`,
            `docs/operations.md says under ${trouble.code} what to do.`,
          ),
        ]
      : []),
    ...notes.map((note): Finding => ({ verdict: 'hint', what: 'note', found: note, remedy: null })),
  ];
}

/** How far the clock of the server is ahead of this one, with half a round trip and half of a cut second made good. */
export function clockAheadMs({ askedMs, answeredMs, serverMs }: Clocks): number | null {
  return serverMs === null ? null : serverMs + 500 - (askedMs + answeredMs) / 2;
}

function clockFinding(clocks: Clocks): Finding {
  const aheadMs = clockAheadMs(clocks);
  if (aheadMs === null)
    return hint('clocks', 'the server does not tell its time', 'Ask it directly, and not through a proxy.');
  const apartMs = Math.abs(aheadMs);
  // What is in between cannot be told from a network that is slower one way than the other.
  const unsureMs = (clocks.answeredMs - clocks.askedMs) / 2 + 500;
  if (apartMs - unsureMs < clocksApartMs) return ok('clocks', `alike, to ${seconds(apartMs + unsureMs)}`);
  const found = `that of the server is ${seconds(apartMs)} ${aheadMs > 0 ? 'ahead' : 'behind'}`;
  const remedy = 'Set both by the network: timedatectl set-ntp true, or what your system has for that.';
  return apartMs < certificatesBackdatedMs
    ? hint('clocks', found, `${remedy} Logs, and the ends of keys and tokens, go by them.`)
    : fault('clocks', found, `${remedy} Certificates are refused that begin in the future.`);
}

function seconds(ms: number): string {
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

function linkFindings(workers: readonly WorkerDescription[]): Finding[] {
  const nameOf = (id: string | null): string =>
    id === null ? 'orchestrator' : (workers.find(({ workerId }) => workerId === id)?.name ?? id);
  const links = workers.flatMap(({ name, links: all }) =>
    all.map((link) => ({ ...link, what: `link ${name} to ${nameOf(link.toWorkerId)}` })),
  );
  const troubled = links.flatMap(({ what, latencyMicros, bytesPerSecond, isRelayed }) => {
    const found = `${formatMicros(latencyMicros)} one way, ${megabits(bytesPerSecond)}`;
    if (isRelayed)
      return hint(
        what,
        `through the orchestrator, ${found}`,
        'Open the data port of the second one: fix it with --data-port, or name another address with --advertise.',
      );
    return latencyMicros > slowLatencyMicros || bytesPerSecond < slowBytesPerSecond
      ? hint(
          what,
          found,
          'A cable is better than Wi-Fi, and a switch of 1 Gbit/s better than one of 100 Mbit/s.',
        )
      : [];
  });
  if (troubled.length > 0 || links.length === 0) return troubled;
  const slowest = Math.max(...links.map(({ latencyMicros }) => latencyMicros));
  const narrowest = Math.min(...links.map(({ bytesPerSecond }) => bytesPerSecond));
  return [ok('links', `at most ${formatMicros(slowest)} one way, at least ${megabits(narrowest)}`)];
}

function megabits(bytesPerSecond: number): string {
  return `${Math.round((bytesPerSecond * 8) / 1e6)} Mbit/s`;
}

/** Who says the same, by what they say. */
function grouped(
  workers: readonly WorkerDescription[],
  of: (worker: WorkerDescription) => string | null,
): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>();
  for (const worker of workers) {
    const said = of(worker);
    if (said !== null) groups.set(said, [...(groups.get(said) ?? []), worker.name]);
  }
  return groups;
}

function inWords(groups: ReadonlyMap<string, readonly string[]>): string {
  return [...groups].map(([said, names]) => `${said} (${names.join(', ')})`).join('; ');
}

function versionFindings(workers: readonly WorkerDescription[], version: string): Finding[] {
  const groups = grouped(workers, (worker) => worker.version);
  if (groups.size === 0) return [];
  const isAlike = groups.size === 1 && groups.has(version);
  return [
    isAlike
      ? ok('versions of workers', version)
      : hint(
          'versions of workers',
          `${inWords(groups)}; here ${version}`,
          'Upgrade the older ones: drain, upgrade, start again, one after the other.',
        ),
  ];
}

function kernelFindings(workers: readonly WorkerDescription[]): Finding[] {
  const groups = grouped(workers, ({ kernels }) => kernels);
  if (groups.size === 0) return [];
  return [
    groups.size === 1
      ? ok('kernels of workers', inWords(groups))
      : hint(
          'kernels of workers',
          inWords(groups),
          'Last bits of numbers differ between them. That matters with --deterministic alone: serve with workers of one kind then.',
        ),
  ];
}
