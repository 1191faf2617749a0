const kib = 1024;
const mib = 1024 * kib;

/** Every bound of the system with its reason, checked before anything is allocated. */
export const limits = Object.freeze({
  /** Control messages and step headers are small; a plan of 128 layers with its tensor table is under 1 MiB. */
  frameHeaderBytesMax: 8 * mib,
  /** All that a stranger may send at once before it has shown its secret: a `hello` has a few KiB. */
  greetingBytesMax: 64 * kib,
  /** 4,096 rows of a hidden size of 16,384 in F32. */
  framePayloadBytesMax: 256 * mib,
  /** A file range asked for at once: large enough to stream at disk speed, small enough to buffer. */
  fileChunkBytesMax: 4 * mib,
  /** Chunks whose hashes are asked for at once: 256 MiB, which any disk reads well within `fetchMs`. */
  digestsAtOnceMax: 64,
  /** Ranges of one worker that are under way at once. */
  fileFetchesInFlightMax: 4,
  /** Ranges of `fileChunkBytesMax` that are in memory at once for all who fetch: 64 MiB, enough to keep any network busy. */
  rangesInMemoryMax: 16,
  /** Bytes waiting in one socket before the sender must pause; above one full prefill step of a large model. */
  connectionQueuedBytesMax: 512 * mib,
  /** Rows in one step; also bounds the compute buffers of a stage. */
  stepRowsMax: 4096,
  /** What their count field holds; one compaction of an arena of 16 million slots in blocks of 256 needs no more. */
  stepCopiesMax: 0xffff,
  /** Guessed tokens of one sequence in one step: more than any text repeats often, and few enough to compute in vain. */
  draftTokensMax: 32,
  /** Sequences of which the last stage knows how far its head has filled its cache; what is forgotten only makes guesses worse. */
  headSequencesMax: 1024,
  /** Answers to one request: each is a sequence of its own. */
  choicesMax: 32,
  /** Prompts of one request for texts: each has sequences of its own. */
  promptsMax: 128,
  /** Texts of one request for embeddings, as many as OpenAI takes; and how many of them are asked of the engine at once. */
  embeddingInputsMax: 2048,
  embeddingsAtOnce: 64,
  /** Characters that `/tokenize` takes at once: what is tokenized stops everything else, some 100 ms for so many. */
  tokenizedCharactersMax: 256 * 1024,
  /** Sequences in one step. */
  stepSequencesMax: 256,
  /** Sequences that run for each context that there is room for: most are far shorter. */
  sequencesPerContextMax: 4,
  /** Numbers of one embedding: four times those of the widest models; those of a whole step fit a frame. */
  embeddingNumbersMax: 65_536,
  /** States kept of prompts and answers; one of a large hybrid model takes 150 MiB, as much as 2,400 tokens of its cache. */
  stateCheckpointsMax: 1024,
  /** What an objective of a program's own is called in a table and in sentences. */
  objectiveNameCharactersMax: 64,
  /** Requests that wait for a place before clients get 429; each holds a connection and its prompt. */
  queuedRequestsMax: 1024,
  /** Tokens of all waiting prompts together: 64 MB. */
  queuedTokensMax: 16 * mib,
  /** Tenants whose share is remembered: as many as there may be keys, and as many again that were revoked. */
  tenantsRememberedMax: 2048,
  /** Distance of `priority` from 0, each step of which counts as ten seconds of waiting. */
  priorityMax: 1000,
  /** Characters of one stop string, and how many of them. */
  stopStringsMax: 16,
  stopStringCharactersMax: 256,
  /** Last tokens of a sequence that penalties and DRY look at: 4 KiB in each step of a sequence that has either. */
  recentTokensMax: 1024,
  /** Files that a text with a gap is read beside, and characters of each: twice and ten times what editors send. */
  infillFilesMax: 128,
  infillFileCharactersMax: 64 * kib,
  /** Tokens with a bias, and how far one shifts a logit either way, as OpenAI's API allows; 8 KiB in each step. */
  logitBiasTokensMax: 1024,
  logitBiasMax: 100,
  /** Likeliest tokens told of beside each token, as OpenAI's API allows. */
  logprobsMax: 20,
  /**
   * Rows of one step whose known tokens are scored: logits of so many take 79 MB with a vocabulary of 150,000 tokens. Two
   * tiles of attention, so that a prompt's first part is a whole one also where a row is left for the next part.
   */
  scoredRowsMax: 128,
  /** Tokens of one sequence that ends repetitions for DRY, as in llama.cpp. */
  dryBreakerTokensMax: 20,
  /** Texts that end repetitions, of one request, and bytes of each: as many as llama.cpp looks at. */
  dryBreakerTextsMax: 16,
  dryBreakerBytesMax: 40,
  /** Of how many such texts it is remembered which tokens they are: each takes 40 kB, if it is a letter. */
  dryBreakerTextsKept: 64,
  /** Such sequences of a request: every token of the largest vocabularies with a line break or a quotation mark in it. */
  dryBreakersMax: 64 * kib,
  /** Tokens of those of them that have several, together: all of them may be in each step. */
  dryLongBreakerTokensMax: 1024,
  /**
   * Connections to the API, from one another as many as are then left: four times the requests that may wait, so that those
   * which say nothing leave places; each takes some 20 KiB and a file of the process.
   */
  httpConnectionsMax: 4096,
  /** Requests of one connection that are not answered yet: clients send the next one early, but not many. */
  requestsPerConnectionMax: 16,
  /** How slowly a client may take in the rest of an answer after its time for that: 512 kbit/s, as over a poor mobile network. */
  answerBytesPerMsMin: 64,
  /** Body of one HTTP request: a context of 128k tokens in any script. */
  requestBodyBytesMax: 16 * mib,
  /** Bodies of all HTTP requests that are on their way at once. */
  requestBodiesBytesMax: 256 * mib,
  /** JSON values of a body beside the tokens of a prompt: more than a chat of the most messages has. */
  requestValuesBesideTokensMax: 64 * 1024,
  /** Nesting of a body: deeper than any field that is known. */
  requestDepthMax: 32,
  /** Messages of one chat, and parts of their contents, together: a context of 128k tokens in pieces of 16. */
  messagePartsMax: 8192,
  /** Tools of one request: four times what OpenAI takes, since agents gather those of many servers. */
  toolsMax: 512,
  /** Names of fields without effect that one response header lists, and the characters of each: some 2 KiB at most. */
  fieldsReportedMax: 32,
  fieldNameCharactersMax: 48,
  /** Origins, and names of hosts, that one server lets in: more is a mistake in a script. */
  originsMax: 256,
  /** Responses kept for `previous_response_id`: some days of one agent. */
  storedResponsesMax: 4096,
  /** Memory of their JSON texts, two bytes for each character. */
  storedResponsesBytesMax: 256 * mib,
  /** How long one is kept that nobody asks for: a day. */
  storedResponseAgeMsMax: 24 * 60 * 60_000,
  /** Pairs of `metadata` of a response, and characters of their names and values, as OpenAI's. */
  metadataPairsMax: 16,
  metadataNameCharactersMax: 64,
  metadataValueCharactersMax: 512,
  /** What one page of items lists, as OpenAI's. */
  itemsPerPageMax: 100,
  /** What one rendering of a chat template may take: several steps for each message, and each text copied a few times. */
  templateStepsMax: 1_000_000,
  /** Macros of a template within each other: what any stack bears, while those of real models nest a few. */
  templateCallsMax: 200,
  templateCharactersMax: 128 * mib,
  /** Numbers of one `range` in a template, as in jinja2's sandbox. */
  templateRangeMax: 100_000,
  /** Blanks that a filter of a template indents or fills by. */
  templateWidthMax: 10_000,
  /** Bytes of a file given as chat template: the longest known ones have some 20 kB. */
  templateBytesMax: 1 * mib,
  /** Bytes of generated text that wait for a slow client before its request is cancelled. */
  streamBufferedBytesMax: 1 * mib,
  /** Shards that a worker holds at once of one model: those of its stage, of the next plan, and a spare. */
  shardsHeldMax: 8,
  /** Models that are served at once; each has its engine, its tokenizer, and a place in every worker. */
  modelsOpenMax: 32,
  /** Numbers of models on a connection, which has 16 bits for them; 0 is the connection itself. */
  channelsMax: 0xffff,
  /** Peers that a worker is told of for the weights of one shard; it asks few of them at once. */
  weightSourcesMax: 16,
  /** Other workers that a worker lets in at once to fetch weights or to measure; the rest asks elsewhere. */
  peerGuestsMax: 64,
  /** Connections from one address, and from all, that have not proved themselves yet: a rack of workers that all come back at once. */
  halfOpenPerAddressMax: 64,
  halfOpenMax: 512,
  /** Members, and as many others, of whom it is remembered that they broke the protocol: as many as there may be workers. */
  offendersMax: 1024,
  /** Join tokens of one cluster, and how often one may be used. */
  joinTokensMax: 256,
  joinTokenUsesMax: 1024,
  joinTokenCharactersMax: 512,
  /** Keys of one API; each is a file that is looked for by name. */
  apiKeysMax: 1024,
  /** Keys that metrics name, beyond which all others are one: each is three series of every model, which a scraper keeps for weeks. */
  metricKeysMax: 64,
  /** Models that one key may name, and the characters of the longest name of a file. */
  apiKeyModelsMax: 64,
  modelIdCharactersMax: 256,
  /** Requests and tokens that a key may have in a minute: what a number holds exactly a thousand times over. */
  ratePerMinuteMax: 1_000_000_000,
  /** Members whose certificates were revoked before their end, of which all workers are told: as many as there may be workers. */
  revokedMax: 1024,
  /** PEM texts of keys and certificates; those with P-256 have under 1 KiB. */
  pemCharactersMax: 8 * kib,
  /** A file with the certificate of a server and those above it, or with its key: a chain of four has 10 KiB. */
  pemFileBytesMax: 256 * kib,
  /** Workers of one cluster. */
  workersMax: 1024,
  /** Pipelines of one cluster that share the requests: more would each be looked at for every request. */
  replicasMax: 16,
  /** Worker processes that one command starts: more than any machine has cards, and each takes some 100 MB. */
  localWorkersMax: 64,
  /** Pulled models that `up` opens to see whether they fit, the latest first: one that was never opened takes seconds. */
  pulledModelsListedMax: 16,
  /** Files of one split GGUF. */
  modelFilesMax: 512,
  /** Metadata of one GGUF file: the largest vocabularies with merges take some 20 MB. */
  ggufMetadataBytesMax: 256 * mib,
  ggufTensorsMax: 65_536,
  /** Kinds of layers of a model: each is measured by itself, and the planner reckons with each for every worker. */
  layerKindsMax: 8,
  /** Surveys of models kept on disk, and the bytes of one: those of 128 layers with experts have under 1 MiB. */
  surveysKeptMax: 64,
  surveyBytesMax: 16 * mib,
  /** Tokens of one vocabulary, four times the largest in use; libllama takes some 200 bytes for each. */
  vocabularyTokensMax: mib,
  /** Tokens that a model may have more than its draft, or fewer, as in llama.cpp: vocabularies are filled up to whole blocks. */
  vocabularyPaddingMax: 128,
  /** Merges of one vocabulary, eight times the largest in use. */
  vocabularyMergesMax: 4 * mib,
  /** Text of one token: four times the longest in use. libllama's tries recurse once for each byte of it. */
  tokenTextBytesMax: 1024,
  /** What all tokens stand for, which libllama keeps in memory; ordinary vocabularies have 1 to 3 MiB. */
  tokenPiecesBytesMax: 64 * mib,
  /** Values of a JSON schema, and how deep they, groups of patterns and of grammars lie: more than any tool has. */
  schemaValuesMax: 16 * 1024,
  constraintDepthMax: 64,
  /** Characters of one pattern. */
  patternCharactersMax: 4096,
  /** The largest count in a pattern, a grammar, or of items and characters in a schema: each takes a state of the matcher. */
  repetitionsMax: 1000,
  /** States of one pattern before and after it is made deterministic, each of which becomes a rule. */
  patternStatesMax: 32 * 1024,
  automatonStatesMax: 4096,
  /** States and ways that making it deterministic looks at in all: under a second on the event loop. */
  automatonWorkMax: 500_000,
  /** Tags of one constraint: a tool has one or two. */
  constraintTagsMax: 512,
  /** A constraint as a grammar; a schema of 500 fields has some 100 KiB. */
  grammarBytesMax: 512 * kib,
  /** Grammars that a worker holds, and an orchestrator has in use: others wait with an error. */
  constraintsMax: 256,
  /** Of those, how many are kept when nobody uses them. */
  constraintsKeptMax: 64,
  /** Sequences whose place in a grammar a stage remembers: twice what may run at once. */
  constraintMatchersMax: 512,
  /** Sequences of a replica whose steps another worker computes too: more than any spare keeps up with. */
  verifiedSequencesMax: 16,
  /** What crosses between stages of these and waits for the other worker: of a step of the widest models, once each way. */
  verifiedBytesMax: 512 * mib,
  /** Steps of one of these that wait for the other worker, which then is too slow to be asked. */
  verifiedStepsMax: 256,
  /** Known output of a constrained sequence that one step carries, and of all in one step: a half, and half of a header. */
  constraintTokensMax: 256 * 1024,
  /** Whose ends and lives are remembered for those who watch: some kilobytes each. */
  requestsRememberedMax: 1000,
  /** Of one of its answers; older ones are joined, since nobody looks at hundreds. */
  requestSpansMax: 64,
  /** Of one request whose lives are told apart: more do not fit on a page. */
  requestSequencesShownMax: 16,
  /** Lines of the log that are shown without a look into it. */
  eventsRememberedMax: 1000,
  /** Of which names are known when plans name them. */
  workersRememberedMax: 4096,
  /** Each ten seconds long: an hour. */
  seriesBucketsMax: 360,
  /** Of one interval, from which percentiles are taken. */
  samplesPerIntervalMax: 1024,
  /** Answers that clients may come back to, running or over. */
  resumableAnswersMax: 1024,
  /** The stream of one: a context of 128 Ki tokens with 250 bytes for each; and of all, beyond which no further one begins. */
  resumableAnswerBytesMax: 32 * mib,
  resumableBytesMax: 256 * mib,
  /** What is kept of their requests and answers on a disk, until minutes after their ends: long prompts, and some millions of tokens. */
  journalBytesMax: 512 * mib,
  /** By what a client finds its answer again. */
  answerHandleCharactersMax: 512,
  /** Conversations that one request may look for. */
  conversationsLookedUpMax: 256,
  /** Spans that wait to be sent, some 1.5 kB each; a request has a few dozen of them, so that this is some hundred requests. */
  traceSpansQueuedMax: 8192,
  /** Requests of one load test: a day at one in a second. */
  loadTestRequestsMax: 100_000,
  /** Tokens of all its answers, each of which is a time that percentiles are taken of: 32 MiB. */
  loadTestTokensMax: 4 * mib,
  /** Requests of it that are under way at once: more, and its client is measured, not the server. */
  loadTestInFlightMax: 1024,
  /** Codes of errors that it tells apart, and characters of each: servers may make them up. */
  loadTestErrorCodesMax: 64,
  loadTestErrorCodeCharactersMax: 64,
  /** Pages and terminals that follow a cluster at once: each is told of every change. */
  watchersMax: 32,
});

/** How many sequences run at once where there is room for so many contexts. */
export function runningMaxOf(contexts: number): number {
  return Math.min(contexts * limits.sequencesPerContextMax, limits.stepSequencesMax);
}

/** Every wait has a deadline. */
export const deadlines = Object.freeze({
  connectMs: 5_000,
  handshakeMs: 10_000,
  /** Silence is found in 6 to 8 beats on a calm network: within 2 s. */
  heartbeatEveryMs: 250,
  /** The longest silence of a connection that the rhythm of a jittery network excuses. */
  heartbeatSilenceMs: 10_000,
  /** Loading must make progress at least this often. */
  loadStallMs: 60_000,
  stepMs: 120_000,
  /** A sequence waits for guesses of another model four times as long as these usually take, and so long at most: a moment that nobody misses. */
  guessesMs: 1_000,
  /** That model computes a prompt, for which nobody waits; later it would be of no use. */
  draftPromptMs: 30_000,
  /** The first step through all stages: one token, with cold caches. */
  canaryMs: 30_000,
  /** A worker that takes longer to measure its link to another one cannot use it either. */
  probeMs: 8_000,
  /** Measuring itself on a model, between joining and taking part. */
  profileMs: 120_000,
  fetchMs: 60_000,
  /** Shorter than for the orchestrator: a slow peer has others beside it, and the orchestrator behind it. */
  peerFetchMs: 10_000,
  drainMs: 10_000,
  /** Keeping what came of a request on servers of which one died: these choose another leader within some seconds. */
  journalMs: 15_000,
  requestMs: 60 * 60_000,
  /** All headers of a request, from the beginning of the connection or of the request: they fit one packet, or a few. */
  requestHeadersMs: 10_000,
  /** A whole request: 16 MiB over 2 Mbit/s. */
  requestArrivalMs: 60_000,
  /** A connection to the API between two requests: longer than proxies keep theirs, which else send into one that ends (nginx: 60 s). */
  idleConnectionMs: 75_000,
  /** For what is left of an answer when it is over, beside the time that its bytes take at the least speed. */
  answerTakenMs: 60_000,
  /** Those of connections to the API are late by that at most. */
  connectionsLookedAtEveryMs: 1_000,
  /** How long who broke the protocol is kept out the first time, and at most; it is four times as long from time to time. */
  keptOutMinMs: 1_000,
  keptOutMaxMs: 300_000,
  /** What somebody did is forgotten that long after they were let in again: longer than they were kept out at most. */
  offencesForgottenMs: 600_000,
  /** A key that was revoked, and a certificate that was replaced, are noticed within that. */
  filesLookedAtEveryMs: 1_000,
  /** A failure until then is an HTTP status; proxies and clients wait longer for the headers of a stream. */
  streamHeadersMs: 2_000,
  /** Between two signs of life of whoever tells of a cluster. */
  pulseMs: 500,
  /** Silence of whoever should tell every `pulseMs`, after which the link to it is taken for cut. */
  pulseSilenceMs: 10_000,
  /** For how long traces are gathered before they are sent: somebody may look for one just after its request. */
  tracesGatheredMs: 1_000,
  /** For sending them, with all attempts, and for the last of them when a server ends; a collector is near. */
  tracesSendMs: 5_000,
  /** Length of the intervals of the last hour. */
  seriesIntervalMs: 10_000,
  /** Silence on a stream before a comment breaks it: proxies cut after 30 s or more. */
  keepAliveMs: 15_000,
  /** How long an answer that can be resumed goes on without a client: longer than a server takes to come back with a model that is cached. */
  resumeGraceMs: 60_000,
  /** How long it can be heard again when it is over, as with llama-server. */
  resumableKeptMs: 300_000,
  /** Rendering a conversation by a chat template; the longest take some 100 ms. */
  templateMs: 10_000,
  /** Compiling a grammar; half a second is usual for a schema of twenty fields. */
  constraintMs: 20_000,
});
