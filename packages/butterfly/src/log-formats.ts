/** How log lines are written: `auto` is for people on a terminal, and JSON elsewhere. */
export const logFormats = ['auto', 'json', 'pretty'] as const;
export type LogFormat = (typeof logFormats)[number];
