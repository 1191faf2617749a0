import { formatBytes } from '@butterfly/common';
import { formatTable } from '../table.js';
import type { ModelDescription } from './models-schema.js';

/** The models of a server in a table. @param nowMs since 1970 */
export function formatModels(models: readonly ModelDescription[], nowMs: number): string {
  const rows = models.map((model) => [
    [model.id, ...model.aliases].join(', '),
    model.state,
    model.architecture,
    model.quantisation,
    formatBytes(model.fileBytes),
    String(model.contextTokens),
    model.loadedBytes > 0 ? formatBytes(model.loadedBytes) : '-',
    whenUnloaded(model, nowMs),
  ]);
  const table = formatTable([
    ['model', 'state', 'kind', 'type', 'file', 'context', 'memory', 'unloaded'],
    ...rows,
  ]);
  const failures = models.flatMap(({ id, failure }) =>
    failure ? [`${id}: ${failure.code}: ${failure.message}\n`] : [],
  );
  return [table, ...failures].join('');
}

function whenUnloaded({ state, expiresAt }: ModelDescription, nowMs: number): string {
  if (expiresAt === null) return state === 'loaded' ? 'in use, or never' : '-';
  const seconds = Math.max(0, Math.round((Date.parse(expiresAt) - nowMs) / 1000));
  return seconds < 120 ? `in ${seconds} s` : `in ${Math.round(seconds / 60)} min`;
}
