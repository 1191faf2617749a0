/**
 * What of the rows of a text its embedding is: their mean, the first or the last one; or the scores that the model's own head
 * makes of them.
 */
export const poolings = ['mean', 'cls', 'last', 'rank'] as const;
export type Pooling = (typeof poolings)[number];
