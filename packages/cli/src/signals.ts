import { constants } from 'node:os';

/** What asks to stop in order: Ctrl-C, service managers, and a terminal that closes. */
export const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Resolves on the first signal that asks to stop. A second SIGINT or SIGTERM ends the process at once; of SIGHUP a closing
 * terminal sends several, and service managers send one after SIGTERM, so that it never hurries.
 */
export function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let isAskedByPerson = false;
    for (const signal of stopSignals) {
      process.on(signal, () => {
        if (isAskedByPerson && signal !== 'SIGHUP') process.exit(128 + constants.signals[signal]);
        isAskedByPerson ||= signal !== 'SIGHUP';
        resolve();
      });
    }
  });
}
