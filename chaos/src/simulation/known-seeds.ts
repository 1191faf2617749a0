/** Schedules that fail without the mend of what they found. They run in every test. */
export const knownSeeds: readonly { readonly seed: number; readonly found: string }[] = [
  { seed: 2, found: 'a worker loaded a shard while a step still used the one that it had released for it' },
  { seed: 8, found: 'a worker ended while a step of an epoch that was over was still computed' },
  { seed: 257, found: 'a shard that was loaded before its worker had joined was held for ever' },
  {
    seed: 156,
    found: 'a worker went to another replica, which did not know of the shard that it was still loading',
  },
];
