import { availableParallelism } from 'node:os';
import { type Logger, formatBytes } from '@butterfly/common';
import {
  type OfferFacts,
  type Offers,
  localModels,
  offers,
  readCatalogue,
  surveysDirectory,
} from 'butterfly/command';
import { availableMemoryBytes, deviceMemoryBytes, localCards, modelsDirectory } from 'butterfly/process';
import { placeFacts } from '../doctor/facts.js';
import type { Environment } from '../environment.js';
import { workerProgram } from '../worker-program.js';

/** What a first run knows of this machine, and what it can offer there. */
export interface Surroundings extends Offers {
  readonly facts: OfferFacts;
  /** The day of the catalogue. */
  readonly updated: string;
  /** What was pulled and cannot be used, in words. */
  readonly refused: readonly string[];
}

/** Looks at cards, memory, disk and models. @throws ButterflyError where the libraries cannot be loaded */
export async function lookAround(
  environment: Environment,
  cacheDir: string | undefined,
  log: Logger,
): Promise<Surroundings> {
  // Drivers take their time, while files are read.
  const cardsFound = localCards(workerProgram, log);
  const directory = modelsDirectory(environment, cacheDir);
  const catalogue = await readCatalogue();
  const { models, refused } = await localModels(directory, {
    ggmlDirectory: environment.BUTTERFLY_GGML_DIR,
    surveys: surveysDirectory(environment, cacheDir),
    log,
  });
  const facts = {
    cards: (await cardsFound).map((card) => ({ name: card.name, memoryBytes: deviceMemoryBytes(card) })),
    hostBytes: availableMemoryBytes(),
    diskFreeBytes: (await placeFacts('models', directory)).freeBytes,
  };
  return {
    facts,
    updated: catalogue.updated,
    refused: refused.map(({ reference, error }) => `${reference}: ${error.message}`),
    ...offers(catalogue, facts, models),
  };
}

/** The machine in one line. */
export function describeMachine({ cards, hostBytes, diskFreeBytes }: OfferFacts): string {
  const cores = availableParallelism();
  const disk = diskFreeBytes === null ? '' : `, ${formatBytes(diskFreeBytes)} free on the disk`;
  const found = cards.map(({ name, memoryBytes }) => `${name} with ${formatBytes(memoryBytes)}`).join(', ');
  return `This machine: ${found === '' ? 'no graphics card' : found}, ${formatBytes(hostBytes)} of memory, ${cores} core${cores === 1 ? '' : 's'}${disk}.`;
}
