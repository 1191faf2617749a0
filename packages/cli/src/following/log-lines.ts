import type { EventView } from '@butterfly/telemetry';
import { printableLine } from '@butterfly/common';

export const shownLevels = ['info', 'warn', 'error'] as const;
export type ShownLevel = (typeof shownLevels)[number];

/** Whether an event is at least so grave. */
export function isAtLeast({ level }: Pick<EventView, 'level'>, least: ShownLevel): boolean {
  return shownLevels.indexOf(level === 'debug' ? 'info' : level) >= shownLevels.indexOf(least);
}

/** One line for a person: when, how grave, what, and its fields. */
export function logLine({ atMs, level, kind, words, modelId, fields }: EventView): string {
  const told = { ...(modelId === null ? {} : { model: modelId }), ...fields };
  const rest = Object.entries(told).map(([name, value]) => `${name}=${shown(value)}`);
  const head = `${new Date(atMs).toISOString()} ${level.padEnd(5)} ${kind}: ${words}`;
  return `${printableLine([head, ...rest].join(' '))}\n`;
}

const shown = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
