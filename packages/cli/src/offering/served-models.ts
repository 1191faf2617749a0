import { basename } from 'node:path';
import { ButterflyError, formatBytes, printableLine } from '@butterfly/common';
import { type ModelSource, ownModel, resolveModelPath, type Serving } from 'butterfly/command';
import type { Command } from 'commander';
import type { Environment } from '../environment.js';
import { type Alias, aliasOption, keepAliveOption } from '../options.js';
import { describeWorkers } from '../progress.js';
import { print } from '../terminal.js';

/** Which models a server offers. */
export interface ModelFlags {
  readonly alias?: readonly Alias[];
  readonly keepAlive: number;
  readonly draft?: string;
  readonly cacheDir?: string;
}

/** Adds the argument that names models, and the options of `ModelFlags` but for the folder of the cache. */
export function addModelOptions(command: Command): Command {
  return command
    .argument(
      '[models...]',
      'GGUF files; of a split model, any part; or hf:ORG/REPO:FILE that was pulled; the first answers where none is named (default: the small one that ships with Butterfly)',
      [ownModel],
    )
    .addOption(aliasOption())
    .addOption(keepAliveOption())
    .option(
      '--draft <model>',
      'small model of the same vocabulary that guesses tokens for the first one, where that makes it faster; answers stay the same',
    );
}

/** What is being loaded. */
export function sayModels({ first, models }: Serving): void {
  const offered = models.list();
  for (const { id, facts } of offered) {
    const ofOne = `${printableLine(first.spec.name)}: ${first.spec.layers} layers, ${first.spec.architecture}`;
    const ofSeveral = `${printableLine(id)}: ${facts.architecture}, ${formatBytes(facts.bytes)}`;
    print(`${offered.length === 1 ? ofOne : ofSeveral}\n`);
  }
}

/** What is loaded, and where. */
export function sayReady({ models }: Serving): void {
  const { deployed } = models;
  const ofModel = (model: (typeof deployed)[number]): string => {
    const workers = describeWorkers(model.workers());
    return models.list().length === 1 ? workers : ` ${printableLine(model.id)}\n${workers}`;
  };
  print(`${['Ready.', ...deployed.map(ofModel)].join('\n')}\n`);
}

/** @throws ButterflyError MODEL_NOT_FOUND */
export async function draftOf(
  { draft, cacheDir }: ModelFlags,
  environment: Environment,
): Promise<ModelSource | undefined> {
  if (draft === undefined) return undefined;
  return { path: await resolveModelPath(draft, environment, cacheDir), aliases: [] };
}

/** @throws ButterflyError MODEL_NOT_FOUND; CONFIG_INVALID for an alias of what is not served */
export async function sourcesOf(
  named: readonly string[],
  { alias = [], cacheDir }: ModelFlags,
  environment: Environment,
): Promise<ModelSource[]> {
  const isOf = (name: string, { model }: Alias): boolean =>
    model === name || model === basename(name, '.gguf');
  const stray = alias.find((each) => !named.some((name) => isOf(name, each)));
  if (stray)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `--alias ${stray.name}=${stray.model} is for a model that is not served; name one of ${named.map((name) => basename(name, '.gguf')).join(', ')}.`,
      { param: 'alias' },
    );
  return Promise.all(
    named.map(async (name) => ({
      path: await resolveModelPath(name, environment, cacheDir),
      aliases: alias.filter((each) => isOf(name, each)).map((each) => each.name),
    })),
  );
}
