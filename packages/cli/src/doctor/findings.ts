import { formatBytes } from '@butterfly/common';
import type { MachineFacts, PlaceFacts } from './facts.js';

/** What is as it should be, what could be better, and what keeps Butterfly from running. */
export type Verdict = 'ok' | 'hint' | 'fault';

/** One thing that was looked at, with its remedy where it needs one. */
export interface Finding {
  readonly verdict: Verdict;
  readonly what: string;
  readonly found: string;
  /** Null where there is nothing to do. */
  readonly remedy: string | null;
}

const nodeMin = [20, 19] as const;
const gibibyte = 2 ** 30;
/** With less there is hardly a model of use. */
const memoryHintBytes = 2 * gibibyte;
const diskHintBytes = 5 * gibibyte;

/** Judges what was found of a machine. Pure. */
export function findingsOf(facts: MachineFacts): Finding[] {
  return [
    nodeFinding(facts),
    libraryFinding(facts),
    ...deviceFindings(facts),
    featureFinding(facts),
    memoryFinding(facts),
    hugePageFinding(facts),
    ...facts.places.map(placeFinding),
    ...facts.ports.map(({ port, use, isFree }) =>
      isFree
        ? ok(`port ${port}`, `free for the ${use}`)
        : hint(`port ${port}`, 'taken', `Another program has it: serve with another port for the ${use}.`),
    ),
  ];
}

/** Whether something keeps Butterfly from running. */
export function hasFault(findings: readonly Finding[]): boolean {
  return findings.some(({ verdict }) => verdict === 'fault');
}

export function ok(what: string, found: string): Finding {
  return { verdict: 'ok', what, found, remedy: null };
}

export function hint(what: string, found: string, remedy: string): Finding {
  return { verdict: 'hint', what, found, remedy };
}

export function fault(what: string, found: string, remedy: string): Finding {
  return { verdict: 'fault', what, found, remedy };
}

function nodeFinding({ node, butterfly, protocol }: MachineFacts): Finding {
  const [major = 0, minor = 0] = node.split('.').map(Number);
  const found = `Node ${node}, Butterfly ${butterfly}, protocol ${protocol}`;
  const isEnough = major > nodeMin[0] || (major === nodeMin[0] && minor >= nodeMin[1]);
  return isEnough
    ? ok('versions', found)
    : fault('versions', found, `Install Node ${nodeMin.join('.')} or later.`);
}

function libraryFinding({ library }: MachineFacts): Finding {
  return library.error === null
    ? ok('libraries', `ggml ${library.version}`)
    : fault('libraries', library.error, 'Install Butterfly again, on a platform of docs/platforms.md.');
}

function deviceFindings({ devices }: MachineFacts): Finding[] {
  const cards = devices.filter(({ kind }) => kind !== 'cpu');
  const found = cards.map(({ name, description, freeBytes, totalBytes }) =>
    ok(name, `${description}, ${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`),
  );
  if (found.length > 0) return found;
  return [
    hint(
      'devices',
      'no graphics card that ggml can use',
      'If there is one, install its driver (for NVIDIA, "butterfly setup cuda" too) and look with "butterfly devices".',
    ),
  ];
}

function featureFinding({ architecture, features }: MachineFacts): Finding {
  const found = features.length === 0 ? 'none that ggml tells of' : features.join(' ');
  const isSlow = architecture === 'x64' && !features.includes('AVX2');
  return isSlow
    ? hint(
        'CPU features',
        found,
        'Without AVX2 a machine is slow; in a virtual one, pass the CPU of the host through.',
      )
    : ok('CPU features', found);
}

function memoryFinding({ cores, availableBytes }: MachineFacts): Finding {
  const found = `${formatBytes(availableBytes)} available, ${cores} cores`;
  return availableBytes >= memoryHintBytes
    ? ok('memory', found)
    : hint('memory', found, 'Close other programs, or join another machine: layers go where there is room.');
}

function hugePageFinding({ hugePages }: MachineFacts): Finding {
  switch (hugePages) {
    case null:
      return ok('huge pages', 'not of this system');
    case 'never':
      return hint(
        'huge pages',
        'never',
        'Large models decode faster with them: echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled',
      );
    default:
      return ok('huge pages', hugePages);
  }
}

function placeFinding({ use, path, isWritable, freeBytes }: PlaceFacts): Finding {
  const what = `folder of ${use}`;
  if (path === null)
    return hint(
      what,
      'none, since this user has no home directory',
      'Say where with XDG_CACHE_HOME and XDG_DATA_HOME.',
    );
  if (!isWritable)
    return hint(what, `${path} cannot be written to`, `Give this user the right to write to ${path}.`);
  const found = freeBytes === null ? path : `${path}, ${formatBytes(freeBytes)} free`;
  return freeBytes !== null && freeBytes < diskHintBytes
    ? hint(what, found, 'Make room, or put it on another disk with XDG_CACHE_HOME: weights are kept there.')
    : ok(what, found);
}
