/** What the page keeps at most; a browser that is open for weeks must not fill up. */
export const bounds = {
  /** As many as a person can still look through; those that run are kept before those that are over. */
  requestsMax: 1_000,
  eventsMax: 2_000,
  /** An hour of the shortest intervals that a server keeps, five seconds. */
  bucketsMax: 720,
  /** A minute, by which rates are smoothed. */
  pulsesMax: 120,
  /** Of one event of a stream: the description of a hundred workers has some hundred kilobytes. */
  eventCharactersMax: 32_000_000,
  chatsMax: 50,
  /** Browsers keep five million characters for an origin. */
  chatCharactersMax: 3_000_000,
  answerCharactersMax: 1_000_000,
} as const;

/** In milliseconds. */
export const times = {
  /** A server tells that it lives twice a second; ten of these missing are no accident. */
  silenceMax: 5_000,
  /** Then the connection is given up, since it may be dead without a word. */
  hangUpAfter: 10_000,
  retryFirst: 1_000,
  retryMax: 10_000,
  /** Longer than a server takes to answer anything that is not a stream, except to load a model. */
  answerMax: 30_000,
  modelLoadMax: 600_000,
  timelineEvery: 1_000,
} as const;
