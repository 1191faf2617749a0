import type { ModelSpec } from '@butterfly/model';
import type { Catalogue } from './catalogue.js';
import {
  type Fit,
  type MemoryFacts,
  bytesPerToken,
  catalogueBytesPerToken,
  catalogueNeedBytes,
  fitOfCatalogue,
  fitOfSpec,
  specNeedBytes,
} from './fit.js';

/** What of a machine decides what may be offered. */
export interface OfferFacts extends MemoryFacts {
  /** Of the disk that models are put on; null where that cannot be told. */
  readonly diskFreeBytes: number | null;
}

/** A model that is on this machine. */
export interface LocalModel {
  /** `hf:ORG/REPO:FILE` of one that was pulled; null for the one that ships with Butterfly. */
  readonly reference: string | null;
  readonly path: string;
  readonly bytes: number;
  readonly spec: ModelSpec;
}

/** A model that this machine can run. */
export interface Offer {
  readonly kind: 'pulled' | 'shipped' | 'download';
  /** As a person types it. */
  readonly name: string;
  readonly title: string;
  /** What `serve` takes: a path, or `hf:ORG/REPO:FILE` of one that is still to be fetched. */
  readonly model: string;
  readonly bytes: number;
  /** With one context of 4,096 tokens, or as many as it was trained for. */
  readonly needBytes: number;
  readonly fit: Fit;
  /** Whether so much is read from the memory of the host for each token that answers come slowly. */
  readonly isSlow: boolean;
  readonly goodFor: string;
  /** Null where nothing is known of it. */
  readonly licence: string | null;
}

/** A model that this machine cannot run by itself, and what it lacks for that. */
export interface Misfit {
  readonly name: string;
  readonly model: string;
  readonly lacks: 'memory' | 'disk';
  /** Of memory, or of the disk. */
  readonly needBytes: number;
}

export interface Offers {
  /** In the order in which they are offered. */
  readonly fitting: readonly Offer[];
  readonly misfits: readonly Misfit[];
}

/** The name of the model that ships with Butterfly. */
export const shippedName = 'stories';
/**
 * Decoding reads all of that for each token, and ordinary machines read 20 to 60 GB of their memory in a second: five to
 * fifteen tokens.
 */
const slowBytesPerToken = 4e9;

/**
 * What this machine can run: what was pulled already first, then the model that ships with Butterfly, then what may be
 * fetched; of each the quick ones first, the largest before the others, since it answers best. Of a model whose file is here
 * the planner says whether it fits, of others their sizes in the catalogue. Pure.
 */
export function offers(catalogue: Catalogue, facts: OfferFacts, local: readonly LocalModel[]): Offers {
  const found = [
    ...local.map((model) => offerOfLocal(model, catalogue, facts)),
    ...catalogue.models
      .filter(({ model }) => !local.some(({ reference }) => reference === model))
      .map((model) => offerOfCatalogue(model, facts)),
  ];
  const fitting = found.filter((each) => 'fit' in each);
  const misfits = found.filter((each) => 'lacks' in each);
  return {
    fitting: kinds.flatMap((kind) => fitting.filter((offer) => offer.kind === kind).sort(byUse)),
    misfits: misfits.sort((a, b) => a.needBytes - b.needBytes),
  };
}

const kinds = ['pulled', 'shipped', 'download'] as const;

function byUse(a: Offer, b: Offer): number {
  if (a.isSlow !== b.isSlow) return a.isSlow ? 1 : -1;
  return a.isSlow ? a.needBytes - b.needBytes : b.needBytes - a.needBytes;
}

function offerOfLocal(local: LocalModel, catalogue: Catalogue, facts: OfferFacts): Offer | Misfit {
  const { reference, path, bytes, spec } = local;
  const known = catalogue.models.find(({ model }) => model === reference);
  const name = reference === null ? shippedName : (known?.name ?? reference);
  const fit = fitOfSpec(spec, facts);
  const needBytes = specNeedBytes(spec);
  if (!fit) return { name, model: path, lacks: 'memory', needBytes };
  return {
    kind: reference === null ? 'shipped' : 'pulled',
    name,
    title: known?.title ?? spec.name,
    model: path,
    bytes,
    needBytes,
    fit,
    isSlow: isSlow(fit, bytesPerToken(spec)),
    goodFor: reference === null ? 'a look around, without a network' : (known?.goodFor ?? ''),
    licence: reference === null ? 'MIT' : (known?.licence ?? null),
  };
}

function offerOfCatalogue(entry: Catalogue['models'][number], facts: OfferFacts): Offer | Misfit {
  const { name, title, model, bytes, goodFor, licence } = entry;
  const fit = fitOfCatalogue(entry, facts);
  const needBytes = catalogueNeedBytes(entry);
  if (!fit) return { name, model, lacks: 'memory', needBytes };
  if (facts.diskFreeBytes !== null && bytes > facts.diskFreeBytes)
    return { name, model, lacks: 'disk', needBytes: bytes };
  return {
    kind: 'download',
    ...{ name, title, model, bytes, needBytes, fit, goodFor, licence },
    isSlow: isSlow(fit, catalogueBytesPerToken(entry)),
  };
}

function isSlow({ place }: Fit, bytes: number): boolean {
  return place === 'cpu' && bytes > slowBytesPerToken;
}
