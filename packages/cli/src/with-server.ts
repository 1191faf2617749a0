import type { Environment } from './environment.js';
import { startLocal, type LocalFlags } from './local-serving.js';
import { waitUntilReady } from './progress.js';
import { stopSignal } from './signals.js';
import { readerGone } from './terminal.js';

/** A model that a command serves to itself. */
export interface OwnServer {
  readonly model: string;
  readonly flags: LocalFlags;
  readonly environment: Environment;
  /** Its name, for the log. */
  readonly command: string;
  /** Requests at once. */
  readonly parallel: number;
}

/**
 * Runs a client of the API: of a running server, by its URL, or of one that lives as long as the client.
 * @param run gets the URL, and a promise that ends when a signal, or the loss of all workers, asks to stop
 * @throws ButterflyError of the server, of `run`, and of what lost the workers
 */
export async function withServer(
  source: string | OwnServer,
  run: (url: string, ending: Promise<unknown>) => Promise<void>,
): Promise<void> {
  const stopping = stopSignal();
  if (typeof source === 'string') {
    await run(source, Promise.race([stopping, readerGone()]));
    return;
  }
  const { model, flags, environment, command, parallel } = source;
  const objective = parallel > 1 ? 'throughput' : 'latency';
  const serving = await startLocal(model, flags, environment, {
    command,
    hasApi: true,
    parallel,
    objective,
    stateCheckpoints: undefined,
  });
  const ending = Promise.race([stopping, readerGone(), serving.lost]);
  try {
    if (!(await waitUntilReady(serving, ending))) return;
    await run(`http://127.0.0.1:${serving.httpPort}`, ending);
    const error = await Promise.race([ending, Promise.resolve()]);
    if (error) throw error;
  } finally {
    await serving.stop();
  }
}
