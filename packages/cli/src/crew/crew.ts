import { ButterflyError, type Logger, logObserver } from '@butterfly/common';
import { managements, WorkerProcesses, type WorkerProcess, type WorkerProgram } from 'butterfly/process';

export interface CrewOptions {
  readonly program: WorkerProgram;
  readonly members: readonly WorkerProcess[];
  readonly token: string | null;
  /** Asks all of them to end. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * Keeps up one worker process for each device until all have ended: none of them is a reason for the others to end, and a
 * driver that takes its process along takes that one.
 * @throws ButterflyError that of the first that was given up, or WORKER_LOST, where none has ended in order
 */
export async function runCrew({ program, members, token, signal, log }: CrewOptions): Promise<void> {
  let left = members.length;
  let sentAway = 0;
  const lastings: ButterflyError[] = [];
  let tellEnd: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (tellEnd = resolve));
  const oneLess = (): void => {
    if (--left === 0) tellEnd();
  };
  const observe = logObserver(log);
  const processes = new WorkerProcesses({
    program,
    workers: members,
    management: managements.inCrew,
    token,
    observe,
    onGivenUp: (name, lasting) => {
      if (lasting) lastings.push(lasting);
      observe({ kind: 'localWorkerGivenUp', name, lasting });
      oneLess();
    },
    onSentAway: () => {
      sentAway += 1;
      oneLess();
    },
  });
  signal.addEventListener('abort', tellEnd, { once: true });
  if (signal.aborted) tellEnd();
  await ended;
  await processes.stop();
  if (sentAway > 0 || signal.aborted) return;
  throw (
    lastings[0] ??
    new ButterflyError(
      'WORKER_LOST',
      'The workers of all devices ended again and again; run with BUTTERFLY_LOG=info to see why.',
    )
  );
}
