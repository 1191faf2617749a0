import { type ModelSpec, joinedLayers } from '@butterfly/model';
import type { MatrixType } from '@butterfly/testkit';

/** How a model compares with llama.cpp. */
export interface MatrixRow {
  readonly name: string;
  readonly spec: ModelSpec;
  /** Type of its matrices. */
  readonly matrices: MatrixType;
  /** For one, two and three stages; `equal`, or the largest difference of a logit. */
  readonly stages: readonly { readonly cuts: readonly number[]; readonly result: string }[];
  /** The same of a sequence among eight others, with that of llama.cpp in the same batches behind it, where there is any. */
  readonly among: string;
  /** The same of what follows a copied prefix. */
  readonly copied: string;
  /** The same of what is computed again after a worker's death. */
  readonly died: string;
}

/** A model that is refused, with the words of the error. */
export interface Refusal {
  readonly name: string;
  readonly architecture: string;
  readonly message: string;
}

const introduction = `# Models

Butterfly runs a model whose architecture libllama knows by the graph that llama.cpp builds of it, cut between any two layers
([decision 0030](decisions/0030-graphs-imported-from-llama-cpp.md)); \`llama\`, \`qwen2\` and \`qwen3\` by graphs of its own. Layers
of which one attends to what another caches stay in one stage. What encoders give, which continue no
texts, is on the page of [embeddings](embeddings.md). This page is written by a test,
\`packages/stage/src/equality/architectures.test.ts\`, which fails when it is no longer true.

Each row is a model of a few layers with random weights and the metadata of its architecture
(\`packages/testkit/architectures.jsonl\`), cut in two and three at random: _equal_ means that all logits of a prompt of 40
tokens and of 8 decoded ones are those of llama.cpp, bit for bit. _Cuts_ are the layers at which the second and the third stage
begin. The last rows are of wider models in a K type. \`MXFP4\` experts are in the rows of \`gpt-oss\`, as in its files.

The other columns compare the same logits with llama.cpp's where a sequence does not just run alone:

- **among 8**, in two stages: in the midst of eight other sequences that began before it, in steps of unequal rows (parts of
  prompts of 2 to 8 tokens, and decoded tokens). Where that is not equal to the sequence alone, the largest difference of
  a logit stands there, and in brackets how far llama.cpp, given the same nine sequences in the same batches, is from itself alone: never
  nought. The reason is that ggml has another kernel for one row than for several, as for matrices of F16 and K types and for some of
  F32, such as those that choose experts. llama.cpp also computes sequences of unequal rows one after the other in parts of
  equal rows, which we do not. The test holds ours below 0.1, below 0.5 for K types and below 1 for F16.
- **prefix hit**, in two stages: gone on with from a copy of the prompt in other slots, and from the state behind it.
- **death**, in three stages: somewhere in the midst of what is decoded the worker of one of them is lost. Its layers are
  loaded anew, and all known tokens are computed again from the beginning, in two parts, through it and those that are left, whose
  caches hold what was there before. llama.cpp is given the same batches.

\`--deterministic\` rules differences among others out ([decision 0017](decisions/0017-deterministic-mode.md)).
`;

/** The page of models: what runs, compared with llama.cpp, and what is refused for which reason. */
export function modelsDocument(rows: readonly MatrixRow[], refused: readonly Refusal[]): string {
  const architectures = new Set(rows.map(({ spec }) => spec.architecture));
  const head = [
    'model',
    'architecture',
    'attention',
    'experts',
    'matrices',
    'cuts',
    '1',
    '2',
    '3 stages',
    'among 8',
    'prefix hit',
    'death',
  ];
  const lines = rows.map(({ name, spec, matrices, stages, among, copied, died }) => [
    name,
    spec.architecture,
    attentionWords(spec),
    expertWords(spec),
    matrices,
    stages
      .slice(1)
      .map(({ cuts }) => cuts.join(' '))
      .join(', '),
    ...stages.map(({ result }) => result),
    among,
    copied,
    died,
  ]);
  const reasons = refused.map(({ name, architecture, message }) => [name, architecture, reasonOf(message)]);
  return [
    introduction,
    `## What runs: ${architectures.size} architectures\n`,
    tableOf(head, lines),
    '## What is refused\n',
    'When the file is opened, by an error that says why:\n',
    tableOf(['model', 'architecture', 'its graph'], reasons),
  ].join('\n');
}

/** A table in Markdown. */
export function tableOf(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  return [line(head), line(head.map(() => '---')), ...lines.map(line)].join('');
}

function attentionWords(spec: ModelSpec): string {
  const { attention: layers } = spec;
  const attention = layers.filter((layer) => layer !== null);
  const windows = attention.flatMap(({ window }) => window ?? []);
  const kinds = [...new Set(windows.map(({ kind }) => kind))];
  const words = [
    ...(attention.length === 0 ? ['none'] : []),
    ...(attention.length > 0 && attention.length < layers.length
      ? [`${joinedLayers(spec).size > 0 ? 'cached ' : ''}in ${attention.length} of ${layers.length}`]
      : []),
    ...(attention.some(({ valueSize }) => valueSize === 0) ? ['latent'] : []),
    ...kinds.map((kind) => `${kind} window in ${windows.length} of ${layers.length}`),
  ];
  return words.length === 0 ? 'full' : words.join(', ');
}

function expertWords({ graph }: ModelSpec): string {
  if (graph.kind === 'family') return 'own graph';
  return graph.experts ? `${graph.experts.used} of ${graph.experts.count}` : '';
}

/** What the error says, without what it says of all models. */
function reasonOf(message: string): string {
  return message
    .replace('The graph that llama.cpp builds of this model ', '')
    .replace(/, which Butterfly does not support yet\. Use another model\.$/u, '')
    .replace(/^.* cannot be run: /u, '');
}
