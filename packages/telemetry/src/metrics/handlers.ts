import type { ButterflyEvent, EventOf } from '@butterfly/common';

type Kind = ButterflyEvent['kind'];

/** What a part of the metrics does about some of all events. */
export type Handlers = { readonly [K in Kind]?: (event: EventOf<K>) => void };

export function handle<K extends Kind>(handlers: Handlers, kind: K, event: EventOf<K>): void {
  handlers[kind]?.(event);
}

/** Of events of a model. */
export const modelOf = ({ modelId }: { readonly modelId?: string }): string => modelId ?? '';

/** From milliseconds, and never below 0: clocks may be set while something is measured. */
export const seconds = (ms: number): number => Math.max(0, ms) / 1000;
