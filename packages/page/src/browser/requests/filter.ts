import type { RequestView } from '@butterfly/telemetry';
import { groupOf, type RequestGroup } from '../state/live-state.js';

export interface RequestFilter {
  readonly group: RequestGroup | 'all' | 'failed';
  /** Part of an id, route, model, tenant or error. */
  readonly text: string;
}

/** Those that are asked for, in the same order. */
export function filtered(requests: readonly RequestView[], { group, text }: RequestFilter): RequestView[] {
  const wanted = text.trim().toLowerCase();
  return requests.filter(
    (request) => isOfGroup(request, group) && (wanted === '' || wordsOf(request).includes(wanted)),
  );
}

function isOfGroup({ state }: RequestView, group: RequestFilter['group']): boolean {
  if (group === 'all') return true;
  return group === 'failed' ? state === 'failed' : groupOf(state) === group;
}

function wordsOf({ id, route, modelId, tenant, error, state }: RequestView): string {
  return [id, route, modelId, tenant, state, error?.code, error?.message].join(' ').toLowerCase();
}
