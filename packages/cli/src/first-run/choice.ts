import { ButterflyError, formatBytes } from '@butterfly/common';
import type { Misfit, Offer, OfferFacts, Offers } from 'butterfly/command';
import type { LogFlags } from '../log.js';

/** What is to be served: a file of this machine, or one that is still to be fetched. */
export interface Choice {
  /** A path, or `hf:ORG/REPO[:FILE]`. */
  readonly model: string;
  readonly isHere: boolean;
  /** Null for what nobody offered: a file or a name of the person's own. */
  readonly offer: Offer | null;
}

/**
 * What a person means by a number or name of the list, a path, or a name of a hub. Pure.
 * @throws ButterflyError MODEL_TOO_LARGE, DISK_FULL for what does not fit here, NOT_FOUND for what there is not
 */
export function choiceOf(named: string, { fitting, misfits }: Offers): Choice {
  const offer =
    fitting.find(({ name, model }) => named === name || named === model) ??
    (/^\d+$/u.test(named) ? fitting[Number(named) - 1] : undefined);
  if (offer) return { model: offer.model, isHere: offer.kind !== 'download', offer };
  const misfit = misfits.find(({ name, model }) => named === name || named === model);
  if (misfit) throw explained(misfit);
  if (named.startsWith('hf:')) return { model: named, isHere: false, offer: null };
  if (/\.gguf$|[/\\]/iu.test(named)) return { model: named, isHere: true, offer: null };
  throw new ButterflyError(
    'NOT_FOUND',
    `There is no model "${named}" on the list; "butterfly up --list" shows it. A file ends in .gguf, and a name of a hub is hf:ORG/REPO:FILE.gguf.`,
  );
}

function explained({ name, model, lacks, needBytes }: Misfit): ButterflyError {
  const size = formatBytes(needBytes);
  if (lacks === 'disk')
    return new ButterflyError(
      'DISK_FULL',
      `${name} takes ${size} of the disk, more than is free; make room, choose another one of "butterfly up --list", or another disk with --cache-dir.`,
    );
  return new ButterflyError(
    'MODEL_TOO_LARGE',
    `${name} takes ${size} of memory, more than this machine has; choose another one of "butterfly up --list", or share it with other machines: butterfly pull ${model}, then butterfly serve with it and --wait-for 1.`,
  );
}

/** What a person says of the server itself. */
export interface ServerWishes extends LogFlags {
  /** Whether no other machine may join. */
  readonly alone?: boolean;
  readonly port: number;
  readonly clusterPort: number;
  readonly cacheDir?: string;
  readonly dataDir?: string;
}

/** The command line of `serve` for a model whose file is here. Pure. */
export function serveArguments(
  path: string,
  { offer }: Pick<Choice, 'offer'>,
  { cards }: Pick<OfferFacts, 'cards'>,
  wishes: ServerWishes,
): string[] {
  const isOnCards = cards.length > 0 && offer?.fit.place !== 'cpu';
  const given: Readonly<Record<string, string | undefined>> = {
    '--device': isOnCards ? cards.map(({ name }) => name).join(',') : 'cpu',
    '--parallel': offer ? String(offer.fit.parallel) : undefined,
    '--port': String(wishes.port),
    '--cluster-port': String(wishes.clusterPort),
    '--cluster-host': wishes.alone ? undefined : '0.0.0.0',
    '--cache-dir': wishes.cacheDir,
    '--data-dir': wishes.dataDir,
    '--log-format': wishes.logFormat,
  };
  return [
    path,
    ...Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [name, value])),
  ];
}
