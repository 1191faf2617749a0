import type { ChildProcess } from 'node:child_process';
import { ButterflyError, type ErrorCode, isErrorCode } from '@butterfly/common';
import { z } from 'zod';

/** What will be the same however often a worker is started again on this machine. */
const lastingCodes: ReadonlySet<ErrorCode> = new Set([
  'CONFIG_INVALID',
  'ADDRESS_INVALID',
  'LIBRARY_MISSING',
  'LIBRARY_MISMATCH',
  'JOIN_REFUSED',
  'ACCESS_DENIED',
  'PROTOCOL_VERSION',
]);

const lastWordsSchema = z.object({ code: z.string(), message: z.string() });

/** Tells whoever started this process why it ends. Nobody may be there any more, or nobody may want to know. */
export async function tellParent({ code, message }: ButterflyError): Promise<void> {
  await new Promise<void>((resolve) => {
    if (!process.send || !process.connected) resolve();
    else process.send({ code, message }, () => resolve());
  });
}

/** Listens for why a worker ends; null as long as it has not told, or told something else. */
export function listenToLastWords(child: ChildProcess): () => ButterflyError | null {
  let told: ButterflyError | null = null;
  child.on('message', (message) => {
    const { data } = lastWordsSchema.safeParse(message);
    if (data && isErrorCode(data.code)) told = new ButterflyError(data.code, data.message);
  });
  return () => told;
}

/** Why no worker on this machine will ever run; null where another try may go better. */
export function lastingError(
  told: ButterflyError | null,
  signal: NodeJS.Signals | null,
): ButterflyError | null {
  if (signal === 'SIGILL')
    return new ButterflyError(
      'LIBRARY_MISMATCH',
      'A local worker ended by SIGILL: the ggml libraries use instructions that this processor lacks; name a build for it with BUTTERFLY_GGML_DIR.',
    );
  return told && lastingCodes.has(told.code) ? told : null;
}

/** What ends a process that a driver has brought down. Windows tells it by codes such as 0xC0000005. */
const faultSignals: ReadonlySet<string> = new Set(['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGFPE', 'SIGTRAP']);
const windowsFault = 0xc0000000;

/**
 * Why a worker on a card ended that said nothing: libraries end the process when the card is lost, and faults of drivers do.
 * Null for one on the CPU, and for an end of another kind.
 */
export function deviceFault(
  device: string,
  { code, signal }: { readonly code: number | null; readonly signal: NodeJS.Signals | null },
): ButterflyError | null {
  const isFault = (signal !== null && faultSignals.has(signal)) || (code !== null && code >= windowsFault);
  if (device === 'cpu' || !isFault) return null;
  const how = signal ?? `exit code 0x${(code ?? 0).toString(16)}`;
  return new ButterflyError(
    'COMPUTE_FAILED',
    `The driver of ${device} ended its process (${how}): the card was lost or reset, or the driver has a fault; look at the log of the system, update the driver, or go on without it by --device.`,
  );
}
