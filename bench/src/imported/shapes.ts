import type { ArchitectureFixture } from '@butterfly/testkit';

/** A model to be measured, with a name for tables. */
export interface ImportedShape {
  readonly title: string;
  readonly fixture: ArchitectureFixture;
}

const vocabulary = 32_000;
const epsilon = { f: 1e-6 };
/** Sizes with which these models have the same tensors, only smaller. */
const small = { embedding_length: 256, feed_forward_length: 256 };
const smallExperts = { ...small, expert_count: 16, expert_feed_forward_length: 32 };

/** What is the same in models of any size with the attention of DeepSeek-V3. */
const latentMetadata = {
  context_length: 4096,
  'attention.head_count_kv': 1,
  'attention.key_length': 576,
  'attention.value_length': 512,
  'attention.key_length_mla': 192,
  'attention.value_length_mla': 128,
  'attention.kv_lora_rank': 512,
  'attention.layer_norm_rms_epsilon': epsilon,
  'rope.dimension_count': 64,
  'rope.freq_base': { f: 10_000 },
  expert_shared_count: 1,
  expert_gating_func: 2,
  expert_weights_norm: true,
  expert_weights_scale: { f: 2.5 },
  expert_group_count: 8,
  expert_group_used_count: 4,
} as const;

/** Eight layers of Qwen3-30B-A3B: 128 experts of which 8 are used; 2.9 GB in Q4_0. */
const mixture: ImportedShape = {
  title: 'experts (qwen3moe)',
  fixture: {
    name: 'bench-qwen3moe',
    architecture: 'qwen3moe',
    vocabulary,
    small: smallExperts,
    optional: ['output.weight'],
    metadata: {
      context_length: 4096,
      embedding_length: 2048,
      block_count: 8,
      feed_forward_length: 6144,
      'attention.head_count': 32,
      'attention.head_count_kv': 4,
      'attention.key_length': 128,
      'attention.value_length': 128,
      'rope.dimension_count': 128,
      'rope.freq_base': { f: 1_000_000 },
      'attention.layer_norm_rms_epsilon': epsilon,
      expert_count: 128,
      expert_used_count: 8,
      expert_feed_forward_length: 768,
    },
  },
};

/** The shape of Qwen3.5-2B, where three of four layers keep a state instead of keys and values; 0.9 GB in Q4_0. */
const hybrid: ImportedShape = {
  title: 'hybrid (qwen35)',
  fixture: {
    name: 'bench-qwen35',
    architecture: 'qwen35',
    vocabulary,
    small,
    optional: ['output.weight', ...hybridLayers(24)],
    metadata: {
      context_length: 4096,
      embedding_length: 2048,
      block_count: 24,
      feed_forward_length: 6144,
      'attention.head_count': 8,
      'attention.head_count_kv': 2,
      'attention.key_length': 256,
      'attention.value_length': 256,
      'rope.dimension_count': 64,
      'rope.dimension_sections': [11, 11, 10, 0],
      'rope.freq_base': { f: 10_000_000 },
      'attention.layer_norm_rms_epsilon': epsilon,
      'ssm.conv_kernel': 4,
      'ssm.inner_size': 2048,
      'ssm.state_size': 128,
      'ssm.time_step_rank': 16,
      'ssm.group_count': 16,
      full_attention_interval: 4,
    },
  },
};

/** The shape of Qwen3.5-0.8B, whose text goes in circles; 0.4 GB in Q4_0. */
export function hybridCircles(circleTokens: number): ArchitectureFixture {
  const { metadata } = hybrid.fixture;
  const sizes = { embedding_length: 1024, feed_forward_length: 3584 };
  return {
    ...hybrid.fixture,
    name: 'bench-circles-qwen35',
    metadata: { ...metadata, ...sizes },
    circleTokens,
  };
}

/** Latent attention and groups of experts as in DeepSeek-V3, made smaller in each direction; 1 GB in Q4_0. */
const latent: ImportedShape = {
  title: 'latent (deepseek2)',
  fixture: {
    name: 'bench-deepseek2',
    architecture: 'deepseek2',
    vocabulary,
    small: smallExperts,
    optional: ['output.weight', ...latentLayers(1, 14)],
    metadata: {
      ...latentMetadata,
      block_count: 14,
      embedding_length: 2048,
      feed_forward_length: 8192,
      'attention.head_count': 16,
      'attention.q_lora_rank': 768,
      expert_count: 32,
      expert_used_count: 8,
      expert_feed_forward_length: 512,
      leading_dense_block_count: 1,
    },
  },
};

export const measuredShapes: readonly ImportedShape[] = [mixture, hybrid, latent];

/** The same architectures so small that they only show whether the benchmark runs. */
export const quickShapes: readonly ImportedShape[] = [
  changed(mixture, 'quick', {
    block_count: 2,
    embedding_length: 256,
    expert_count: 16,
    expert_feed_forward_length: 128,
  }),
  changed(hybrid, 'quick', { block_count: 4, embedding_length: 256, feed_forward_length: 256 }),
  changed(latent, 'quick', {
    block_count: 2,
    embedding_length: 256,
    feed_forward_length: 256,
    expert_feed_forward_length: 128,
  }),
];

/** The shapes of DeepSeek-V3 and Qwen3-235B-A22B, of which there is only a header. */
export const largeShapes: readonly ImportedShape[] = [
  {
    title: 'DeepSeek-V3 (671B)',
    fixture: {
      name: 'large-deepseek-v3',
      architecture: 'deepseek2',
      vocabulary: 129_280,
      small: smallExperts,
      optional: ['output.weight', ...latentLayers(3, 61)],
      metadata: {
        ...latentMetadata,
        context_length: 163_840,
        embedding_length: 7168,
        block_count: 61,
        feed_forward_length: 18_432,
        'attention.head_count': 128,
        'attention.q_lora_rank': 1536,
        expert_count: 256,
        expert_used_count: 8,
        expert_feed_forward_length: 2048,
        leading_dense_block_count: 3,
        'rope.scaling.type': 'yarn',
        'rope.scaling.factor': { f: 40 },
        'rope.scaling.original_context_length': 4096,
        'rope.scaling.yarn_log_multiplier': { f: 0.1 },
      },
    },
  },
  {
    title: 'Qwen3-235B-A22B',
    fixture: {
      ...mixture.fixture,
      name: 'large-qwen3-235b',
      vocabulary: 151_936,
      metadata: {
        ...mixture.fixture.metadata,
        context_length: 40_960,
        embedding_length: 4096,
        block_count: 94,
        feed_forward_length: 12_288,
        'attention.head_count': 64,
        expert_feed_forward_length: 1536,
      },
    },
  },
];

/** The tensors of layers with states that llama.cpp takes for optional. */
function hybridLayers(layers: number): string[] {
  return Array.from({ length: layers }, (_, layer) => layer)
    .filter((layer) => (layer + 1) % 4 !== 0)
    .flatMap((layer) => [`blk.${layer}.attn_qkv.weight`, `blk.${layer}.attn_gate.weight`]);
}

/** The tensors of layers with experts that llama.cpp takes for optional. */
function latentLayers(first: number, end: number): string[] {
  return Array.from({ length: end - first }, (_, i) => `blk.${first + i}.exp_probs_b.bias`);
}

function changed(
  { title, fixture }: ImportedShape,
  prefix: string,
  metadata: Readonly<Record<string, number>>,
): ImportedShape {
  const layers = metadata.block_count ?? Infinity;
  return {
    title,
    fixture: {
      ...fixture,
      name: `${prefix}-${fixture.name}`,
      metadata: { ...fixture.metadata, ...metadata },
      optional: fixture.optional.filter((name) => Number(/^blk\.(\d+)/u.exec(name)?.[1] ?? 0) < layers),
    },
  };
}
