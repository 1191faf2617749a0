import type { Logger, Observer } from '@butterfly/common';
import type { Objective, OwnObjective } from '@butterfly/planning';

/** How a program has a cluster of its own. Everything has a default: `createCluster()` runs the small model that ships with Butterfly. */
export interface ClusterOptions {
  /**
   * Path of a GGUF file, or `hf:ORG/REPO:FILE` of what `butterfly pull` brought, or several of these, of which the first answers
   * where none is named; by default the small model that ships.
   */
  readonly model?: string | readonly string[];
  /** Other names of models: each stands for one of `model`, written in the same way. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** A small model of the same vocabulary that guesses tokens for the first one, where that makes it faster; answers stay the same. */
  readonly draft?: string;
  /** How long a model stays loaded when nobody uses it, in milliseconds; by default for ever. */
  readonly keepMs?: number;
  /** Worker processes on this machine: on the CPU so many, or one on each of these devices (`butterfly devices`). Default 1. */
  readonly workers?: number | readonly string[];
  /** Of each of them; by default the cores are shared evenly. */
  readonly threads?: number;
  /** Where workers from elsewhere join; by default nowhere but from this machine. */
  readonly join?: {
    readonly host: string;
    /** 0 lets the system choose. */
    readonly port: number;
    /** Of `butterfly token create`; by default one that ends with this cluster. */
    readonly token?: string;
    /** So many are waited for before the first plan; default 0. */
    readonly waitFor?: number;
    /** Where the authority of the cluster is kept; by default it ends with this cluster. */
    readonly authorityDirectory?: string;
  };
  /** Tokens of prompt and answer together; by default as trained, at most 4096. */
  readonly contextTokens?: number;
  /** Requests at once; default 4. */
  readonly parallel?: number;
  /**
   * What the plan is made for; default `throughput`. With one of your own, workers of this machine have a stage only where that
   * costs less, instead of all of them.
   */
  readonly objective?: Objective | OwnObjective;
  /** Workers that hold a second copy of a shard; default 0. */
  readonly spares?: number;
  /** Pipelines that share the requests; default 1. */
  readonly replicas?: number;
  /** As `serve --deterministic`; default false. */
  readonly isDeterministic?: boolean;
  /** Where models and prepared weights are kept; by default as the command has it. */
  readonly cacheDirectory?: string;
  /** Where caches go and how workers are set up, as the command reads it; by default that of this process. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /**
   * Where a collector takes OpenTelemetry's traces over HTTP, such as `http://127.0.0.1:4318`: one of each request that `fetch`
   * answers. By default none are sent.
   */
  readonly traces?: string;
  /** By default nothing is logged. */
  readonly log?: Logger;
  /** Hears everything that happens: workers that come and go, plans, failures. */
  readonly onEvent?: Observer;
}
