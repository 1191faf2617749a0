import { createHash } from 'node:crypto';
import {
  type ApiAccess,
  type ApiContext,
  type CertificateFiles,
  type HttpSettings,
  type ListeningApi,
  type ModelFacts,
  startApi,
} from '@butterfly/api';
import { type Observer, deadlines, systemClock } from '@butterfly/common';
import { modelCapabilities } from '@butterfly/generation';
import { modelFingerprint, parameterCount, quantisation } from '@butterfly/model';
import type { Orchestrator } from '@butterfly/orchestrator';
import type { PromptMaker } from '@butterfly/text';
import type { OpenedModel } from './model.js';

/** Where the HTTP API listens and for whom, by default for no pages but its own; port 0 lets the system choose. */
export type HttpOptions = {
  readonly host: string;
  readonly port: number;
  readonly access: ApiAccess;
  /** Of what proves the server over TLS; undefined for plain HTTP. */
  readonly tls?: CertificateFiles | undefined;
} & {
  readonly [K in keyof HttpSettings]?: HttpSettings[K] | undefined;
};

/** Offers a model over HTTP. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID, CONFIG_INVALID */
export async function startHttpApi(options: {
  readonly http: HttpOptions;
  readonly model: OpenedModel;
  readonly prompts: PromptMaker;
  readonly orchestrator: Orchestrator;
  /** Opens what administrates the cluster. */
  readonly token: string | null;
  readonly observe: Observer;
}): Promise<ListeningApi> {
  const { orchestrator, token } = options;
  const { host, port, access, tls, ...settings } = options.http;
  const context = apiContext(options, access, settings);
  return startApi({ ...context, administration: { view: orchestrator.view, token } }, { host, port, tls });
}

/** What the API serves of a model, without what administrates the cluster. */
export function apiContext(
  {
    model,
    prompts,
    orchestrator,
    observe,
  }: {
    readonly model: OpenedModel;
    readonly prompts: PromptMaker;
    readonly orchestrator: Orchestrator;
    readonly observe: Observer;
  },
  access: ApiAccess,
  {
    keepAliveMs = deadlines.keepAliveMs,
    corsOrigins = [],
    hostNames = [],
  }: { readonly [K in keyof HttpSettings]?: HttpSettings[K] | undefined } = {},
): ApiContext {
  const { engine } = orchestrator;
  return {
    model: {
      id: model.id,
      createdS: Math.floor(Date.now() / 1000),
      engine,
      vocabulary: model.vocabulary,
      prompts,
      facts: factsOf(model, prompts, engine.model),
    },
    http: { keepAliveMs, corsOrigins, hostNames },
    access,
    clock: systemClock,
    observe,
  };
}

function factsOf(
  { spec, vocabulary }: OpenedModel,
  prompts: PromptMaker,
  { generates }: Orchestrator['engine']['model'],
): ModelFacts {
  const [most] = quantisation(spec);
  return {
    architecture: spec.architecture,
    parameters: parameterCount(spec),
    quantisation: most?.typeName ?? 'unknown',
    bytes: spec.tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    contextTrained: spec.contextTrained,
    digest: createHash('sha256')
      .update(JSON.stringify(modelFingerprint(spec)))
      .digest('hex'),
    chatTemplate: spec.tokenizer.chatTemplate,
    // Others make embeddings too, but these make nothing else.
    capabilities: generates ? modelCapabilities({ vocabulary, prompts }) : ['embedding'],
  };
}
