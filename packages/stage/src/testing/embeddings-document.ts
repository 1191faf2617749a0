import type { ModelSpec } from '@butterfly/model';
import type { MatrixType } from '@butterfly/testkit';
import type { Pooling } from '@butterfly/wire';
import { tableOf } from './models-document.js';

/** How the embeddings of a model compare with llama.cpp's. */
export interface EmbeddingRow {
  readonly name: string;
  readonly spec: ModelSpec;
  readonly pooling: Pooling;
  /** Type of its matrices. */
  readonly matrices: MatrixType;
  /** For one, two and three stages; `equal`, or the largest difference of a number. */
  readonly stages: readonly {
    readonly cuts: readonly number[];
    readonly alone: string;
    readonly together: string;
  }[];
}

const introduction = `# Embeddings

What a text means, as numbers: of encoders, whose tokens see those that come later, and of models that continue texts
([decision 0035](decisions/0035-embeddings.md)). This page is written by a test,
\`packages/stage/src/equality/embeddings.test.ts\`, which fails when it is no longer true.

Each row is a model of a few layers with random weights (\`packages/testkit/architectures.jsonl\`), cut in two and three at
random. _Alone_ compares the embeddings of texts of 5, 64 and 100 tokens with those that llama.cpp makes of the same text alone
(\`createEmbeddingContext\` of node-llama-cpp): _equal_ is bit for bit. _Together_ compares them where all of these texts are
in one step. \`rank\` are the scores of a reranker.
`;

/** The page of embeddings. */
export function embeddingsDocument(rows: readonly EmbeddingRow[]): string {
  const head = [
    'model',
    'tokens see',
    'pooled by',
    'matrices',
    'cuts',
    'alone in 1',
    '2',
    '3 stages',
    'together',
  ];
  const lines = rows.map(({ name, spec, pooling, matrices, stages }) => [
    name,
    spec.isEncoder ? 'all' : 'those before',
    pooling,
    matrices,
    stages
      .slice(1)
      .map(({ cuts }) => cuts.join(' '))
      .join(', '),
    ...stages.map(({ alone }) => alone),
    [...new Set(stages.map(({ together }) => together))].join(', '),
  ]);
  return [introduction, tableOf(head, lines)].join('\n');
}
