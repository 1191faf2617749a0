import type { OracleBatchOptions } from '@butterfly/testkit';
import type { LoadPattern, LoadRun } from '../load/run-load.js';
import type { TokenRequest } from '../load/traffic.js';

/** A load for the peer. */
export interface PeerOrder {
  readonly id: number;
  readonly batch: OracleBatchOptions;
  readonly requests: readonly TokenRequest[];
  readonly pattern: LoadPattern;
}

export type PeerAnswer =
  | { readonly id: number; readonly kind: 'run'; readonly run: LoadRun }
  | { readonly id: number; readonly kind: 'error'; readonly message: string };
