/** Runs what a command does in the order of its process: leaving by a signal takes along all that it started. */
export async function runCommand(main: () => Promise<number>): Promise<void> {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  process.exitCode = await main();
  // At its natural end Node 20 cleans up, and waited at full load for requests of sockets that were gone long before.
  process.once('exit', (code) => process.exit(code));
}
