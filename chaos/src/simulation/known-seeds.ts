/** Schedules that once failed, each with what it found. They run in every test. */
export const knownSeeds: readonly { readonly seed: number; readonly found: string }[] = [
  { seed: 7, found: 'a worker loaded a shard while a step still used the one that it had released for it' },
  { seed: 181, found: 'a worker ended while a step of an epoch that was over was still computed' },
];
