import { formatBytes, formatMicros, formatRate } from '@butterfly/common';
import { countedLayers } from '@butterfly/model';
import { objectiveInWords } from './own-cost.js';
import { stageParts } from './stage-memory.js';
import type { Plan, PlanExplanation, PlannerInput, PlanStage } from './types.js';

/** What a run of the plan reached; null for what was not measured. */
export interface MeasuredPlan {
  readonly tokensPerSecond: number | null;
  /** Time of a token of a single stream. */
  readonly latencyMicros: number | null;
  /** By worker: time of a step of one row in its stage. */
  readonly stageMicros: ReadonlyMap<string, number>;
}

/** Columns of a terminal that every line stays within. */
const columns = 100;
const barColumns = 24;
const nameColumns = 16;

/**
 * A plan as lines for a terminal: the pipeline with a bar for the time of each stage, what it would reach with and
 * without each worker, and why each is where it is.
 * @param explanation null where nobody wants to wait for it
 * @param measured what a run reached, to be shown beside what was predicted
 */
export function drawPlan(
  input: PlannerInput,
  plan: Plan,
  explanation: PlanExplanation | null,
  measured: MeasuredPlan | null = null,
): string[] {
  return [
    ...drawHead(input, plan),
    '',
    ...drawPrediction(plan, measured),
    '',
    ...drawPipeline(input, plan, measured),
    '',
    ...drawWorkers(input, plan, explanation),
  ];
}

function drawHead({ model, workers }: PlannerInput, plan: Plan): string[] {
  const stages = `${plan.stages.length} of ${workers.length} workers`;
  const load = plan.concurrency === 1 ? 'one sequence' : `${plan.concurrency} sequences at once`;
  const what = `${model.layerBytes.length} layers, KV cache ${plan.cacheType} of ${model.arenaSlots} tokens`;
  return wrap(`${model.name}: ${stages}, ${what}; best ${objectiveInWords(plan.objective)}, ${load}.`, 0);
}

function drawPrediction({ predicted }: Plan, measured: MeasuredPlan | null): string[] {
  const { latencyMicros, tokensPerSecond } = predicted;
  const rows: (readonly [string, string, string])[] = [
    [
      'All sequences together',
      formatRate(tokensPerSecond),
      beside(tokensPerSecond, measured?.tokensPerSecond, formatRate),
    ],
    [
      'A token of one stream',
      formatMicros(latencyMicros),
      beside(latencyMicros, measured?.latencyMicros, formatMicros),
    ],
  ];
  return rows.map(([what, value, measuredValue]) =>
    `${what.padEnd(24)}${value.padStart(16)}${measuredValue === '' ? '' : `   ${measuredValue}`}`.trimEnd(),
  );
}

/** What was measured and how far that is from what was predicted. */
function beside(
  predicted: number,
  measured: number | null | undefined,
  words: (value: number) => string,
): string {
  if (measured === null || measured === undefined) return '';
  const percent = Math.round((measured / predicted - 1) * 100);
  return `measured ${words(measured)} (${percent < 0 ? '' : '+'}${percent}%)`;
}

function drawPipeline(input: PlannerInput, plan: Plan, measured: MeasuredPlan | null): string[] {
  const longest = Math.max(...plan.stages.map(({ decodeMicros }) => decodeMicros));
  const lines = ['orchestrator'];
  let from: string | null = null;
  for (const stage of plan.stages) {
    lines.push(drawHop(input, from, stage.workerId), drawStage(input, stage, longest));
    lines.push(...drawHoldings(input, stage));
    const told = beside(stage.decodeMicros, measured?.stageMicros.get(stage.workerId), formatMicros);
    if (told !== '') lines.push(`│   ${told}`);
    from = stage.workerId;
  }
  lines.push(drawHop(input, from, null), 'orchestrator');
  return lines;
}

function drawHop({ link }: PlannerInput, from: string | null, to: string | null): string {
  const { latencyMicros, isRelayed } = link(from, to);
  return `│ ${formatMicros(latencyMicros)}${isRelayed ? ' through the orchestrator' : ''}`;
}

function drawStage({ workers }: PlannerInput, stage: PlanStage, longestMicros: number): string {
  const worker = workers.find(({ workerId }) => workerId === stage.workerId);
  const filled = Math.max(1, Math.round((barColumns * stage.decodeMicros) / longestMicros));
  const bar = '█'.repeat(Math.min(barColumns, filled)).padEnd(barColumns, '░');
  const layers = `layers ${stage.layerStart}-${stage.layerEnd - 1}`.padEnd(14);
  const memory = `${formatBytes(stage.bytes)} of ${formatBytes(worker?.memoryBytes ?? 0)}`;
  return `├ ${fitted(worker?.name ?? stage.workerId)} ${layers} ${bar} ${formatMicros(stage.decodeMicros).padStart(9)}  ${memory}`;
}

/** What a stage holds; of a plan whose model is only known by name nothing. */
function drawHoldings({ model }: PlannerInput, { layerStart, layerEnd, host }: PlanStage): string[] {
  const { weightBytes, cacheBytes } = stageParts(model, layerStart, layerEnd);
  if (weightBytes === 0) return [];
  const layers = countedLayers(model.layerWords.slice(layerStart, layerEnd));
  const parts = [`${formatBytes(weightBytes)} of weights`, `${formatBytes(cacheBytes)} of cache`];
  if (host && host.experts > 0 && host.bytes > 0)
    parts.push(`experts of ${host.experts} layers in ${formatBytes(host.bytes)} beside the card`);
  return wrap([...parts, ...(layers === '' ? [] : [layers])].join('; '), 4).map((line) =>
    line.replace(/^ /u, '│'),
  );
}

function drawWorkers({ workers }: PlannerInput, plan: Plan, explanation: PlanExplanation | null): string[] {
  const names = new Map(workers.map(({ workerId, name }) => [workerId, name]));
  const without = new Map(explanation?.without.map((each) => [each.workerId, each]));
  return plan.reasons.flatMap(({ workerId, isUsed, reason }) => {
    const gone = without.get(workerId);
    const name = fitted(names.get(workerId) ?? workerId);
    const words = gone === undefined || !isUsed ? reason : `${reason} ${withAndWithout(plan, gone)}`;
    const [first = '', ...others] = wrap(words, nameColumns + 3);
    return [`${isUsed ? '+' : '-'} ${name} ${first.trimStart()}`, ...others];
  });
}

function withAndWithout({ objective, predicted }: Plan, gone: PlanExplanation['without'][number]): string {
  const { tokensPerSecond, latencyMicros } = gone;
  if (tokensPerSecond === null || latencyMicros === null) return 'Without it the model does not fit.';
  return objective === 'latency'
    ? `${formatMicros(predicted.latencyMicros)} for a token with it, ${formatMicros(latencyMicros)} without.`
    : `${formatRate(predicted.tokensPerSecond)} with it, ${formatRate(tokensPerSecond)} without.`;
}

function fitted(name: string): string {
  return (name.length > nameColumns ? `${name.slice(0, nameColumns - 1)}…` : name).padEnd(nameColumns);
}

/** Lines of words, each behind so many blanks and within the terminal. */
function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ').flatMap((each) => each.match(/.{1,80}/gu) ?? [])) {
    if (line !== '' && indent + line.length + 1 + word.length > columns) {
      lines.push(' '.repeat(indent) + line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, ' '.repeat(indent) + line];
}
