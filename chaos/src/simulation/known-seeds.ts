/** Schedules that once failed, each with what it found. They run in every test. */
export const knownSeeds: readonly { readonly seed: number; readonly found: string }[] = [];
