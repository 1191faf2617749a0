/** Imports run downward only: each package may import those named behind it. Read by ESLint and by structure.mjs. */
export const packages = {
  common: [],
  wire: ['common'],
  ggml: ['common'],
  model: ['common', 'wire', 'ggml'],
  'llama-graph': ['common', 'wire', 'ggml', 'model'],
  python: ['common'],
  jinja: ['common', 'python'],
  text: ['common', 'ggml', 'python', 'jinja'],
  weights: ['common', 'wire', 'model'],
  stage: ['common', 'wire', 'ggml', 'model', 'llama-graph', 'weights'],
  planning: ['common', 'wire', 'model'],
  engine: ['common', 'wire', 'planning'],
  control: ['common', 'wire', 'planning'],
  worker: ['common', 'wire', 'ggml', 'model', 'weights', 'stage'],
  orchestrator: ['common', 'wire', 'model', 'planning', 'engine', 'control'],
  api: ['common', 'wire', 'ggml', 'text', 'engine', 'orchestrator'],
  butterfly: ['common', 'ggml', 'model', 'llama-graph', 'text', 'planning', 'engine', 'orchestrator', 'api'],
  testkit: ['common', 'wire', 'ggml'],
};

/** The same for the folders of a package, and for the few files beside them that a folder may import. */
export const folders = {
  common: { events: ['errors.ts', 'log.ts', 'step-time.ts'] },
  wire: { frames: [], messages: ['frames'], connection: ['frames', 'messages'] },
  ggml: {
    library: [],
    device: ['library'],
    graph: ['library', 'device'],
    vocabulary: ['library'],
    training: ['library', 'graph'],
    imported: ['library', 'graph'],
  },
  model: { gguf: [], spec: ['gguf'], architecture: ['spec'] },
  stage: { sampling: ['faults.ts'] },
  jinja: { library: [], syntax: ['library'] },
  planning: { search: ['cost.ts', 'stage-memory.ts', 'types.ts'] },
  engine: { kv: [], scheduler: ['kv', 'types.ts'] },
  worker: { profile: [], peers: [], control: ['peers', 'profile'] },
  orchestrator: {
    view: [],
    fleet: ['view'],
    links: ['fleet'],
    deployment: ['fleet', 'links'],
  },
  api: { http: ['context.ts'], admin: ['http', 'context.ts'], openai: ['http', 'context.ts'] },
  cli: { discovery: [], 'admin-client': ['options.ts', 'table.ts'] },
};
